include { options } from '../core/quote'

// Tensor maps: FA, MD, RD, AD, colour FA.
process DWI_TENSOR {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(series, stageAs: 'series/*'), path(mask)

    output:
    tuple val(id), path('tensor')

    script:
    """
    dwi-tensor ${series}/dwi/*_dwi.nii* \\
        --mask ${mask}/dwi/${settings.prefix}_desc-brain_mask.nii.gz \\
        --output tensor --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p tensor/dwi
    touch tensor/dwi/${settings.prefix}_space-orig_model-DTI_param-{FA,MD,RD,AD,DEC,V1}_dwimap.nii.gz
    """
}
