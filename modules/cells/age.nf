include { options } from '../core/quote'

// The age of each developmental stage.
process CELLS_AGE {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(h5ad, stageAs: 'input/*')

    output:
    tuple val(id), path('age')

    script:
    """
    cells-age ${h5ad} --output age --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p age
    touch age/ages.tsv
    """
}
