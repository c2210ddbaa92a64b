include { options } from '../core/quote'

// Which cells are for training and which for testing.
process CELLS_SPLIT {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(h5ad, stageAs: 'input/*')

    output:
    tuple val(id), path('split')

    script:
    """
    cells-split ${h5ad} --output split --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p split
    touch split/split.json
    """
}
