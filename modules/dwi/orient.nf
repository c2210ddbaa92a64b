include { options } from '../core/quote'

// The b-vectors looked at against the image; the preprocessed series.
process DWI_ORIENT {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(series, stageAs: 'series/*'), path(mask)

    output:
    tuple val(id), path('orient')

    script:
    """
    dwi-orient ${series}/dwi/*_dwi.nii* \\
        --mask ${mask}/dwi/${settings.prefix}_desc-brain_mask.nii.gz \\
        --output orient --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p orient/dwi
    touch orient/dwi/${settings.prefix}_desc-preproc_dwi.{nii.gz,bval,bvec,json}
    """
}
