include { options } from '../core/quote'

// One checked 4-D NIfTI with its gradients, from NIfTI or a DICOM series.
process DWI_CONVERT {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(source), path(bval), path(bvec), path(sidecar),
        path(reverse, stageAs: 'reverse/*'), path(reverse_bval, stageAs: 'reverse/*'),
        path(reverse_json, stageAs: 'reverse/*') // sidecars of both may have one name

    output:
    tuple val(id), path('convert')

    script:
    def given = [
        bval: bval, bvec: bvec, json: sidecar,
        reverse: reverse, 'reverse-bval': reverse_bval, 'reverse-json': reverse_json,
    ]
    def sidecars = given
        .findAll { _name, file -> file }
        .collect { name, file -> "--${name} ${file}" }
        .join(' ')
    """
    dwi-convert ${source} --output convert --overwrite --unit ${id} --prefix ${settings.prefix} \\
        ${sidecars} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p convert/dwi
    touch convert/dwi/${settings.prefix}_desc-converted_dwi.{nii.gz,bval,bvec,json}
    """
}
