// A brain mask.
process DWI_MASK {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(convert)

    output:
    tuple val(id), path('mask')

    script:
    """
    dwi-mask ${convert}/dwi/${settings.prefix}_desc-converted_dwi.nii.gz \\
        --output mask --overwrite --unit ${id}
    """

    stub:
    """
    mkdir -p mask/dwi
    touch mask/dwi/${settings.prefix}_desc-brain_mask.{nii.gz,json}
    """
}
