include { options } from '../core/quote'

// Head motion, eddy currents, outlier slices; susceptibility where there is a reversed pair.
process DWI_CORRECT {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(series, stageAs: 'series/*'), path(convert)

    output:
    tuple val(id), path('correct')

    script:
    """
    dwi-correct ${series}/dwi/*_dwi.nii* --reverse ${convert} \\
        --output correct --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p correct/dwi
    touch correct/dwi/${settings.prefix}_desc-corrected_dwi.nii
    """
}
