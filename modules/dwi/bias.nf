include { options } from '../core/quote'

// The coil's bias field taken out.
process DWI_BIAS {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(series, stageAs: 'series/*'), path(mask)

    output:
    tuple val(id), path('bias')

    script:
    """
    dwi-bias ${series}/dwi/*_dwi.nii* \\
        --mask ${mask}/dwi/${settings.prefix}_desc-brain_mask.nii.gz \\
        --output bias --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p bias/dwi
    touch bias/dwi/${settings.prefix}_desc-unbiased_dwi.nii
    """
}
