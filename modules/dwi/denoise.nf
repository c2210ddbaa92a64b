include { options } from '../core/quote'

// Less noise: MP-PCA.
process DWI_DENOISE {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(series, stageAs: 'series/*')

    output:
    tuple val(id), path('denoise')

    script:
    """
    dwi-denoise ${series}/dwi/*_dwi.nii* \\
        --output denoise --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p denoise/dwi
    touch denoise/dwi/${settings.prefix}_desc-denoised_dwi.nii
    """
}
