include { options } from '../core/quote'

// One checked 4-D NIfTI with its gradients, from NIfTI or a DICOM series.
process DWI_CONVERT {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(source), path(bval), path(bvec), path(sidecar)

    output:
    tuple val(id), path('convert')

    script:
    def sidecars = [bval, bvec, sidecar].withIndex()
        .findAll { file, _n -> file }
        .collect { file, n -> "${['--bval', '--bvec', '--json'][n]} ${file}" }
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
