include { options } from '../core/quote'

// A brain mask.
process DWI_MASK {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(series, stageAs: 'series/*')

    output:
    tuple val(id), path('mask')

    script:
    """
    dwi-mask ${series}/dwi/*_dwi.nii* \\
        --output mask --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p mask/dwi
    touch mask/dwi/${settings.prefix}_desc-brain_mask.{nii.gz,json}
    """
}
