include { options } from '../core/quote'

// Fibre orientation distributions.
process DWI_FOD {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(series, stageAs: 'series/*'), path(mask)

    output:
    tuple val(id), path('fod')

    script:
    """
    dwi-fod ${series}/dwi/*_dwi.nii* \\
        --mask ${mask}/dwi/${settings.prefix}_desc-brain_mask.nii.gz \\
        --output fod --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p fod/dwi
    touch fod/dwi/${settings.prefix}_space-orig_model-CSD_param-FOD_dwimap.nii.gz
    """
}
