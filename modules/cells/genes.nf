include { options } from '../core/quote'

// The approved symbol of each gene. (Files of users lie in a folder of their own, so that no name
// is an option, or that of an output.)
process CELLS_GENES {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(h5ad, stageAs: 'input/*'), path(hgnc, stageAs: 'input/*')

    output:
    tuple val(id), path('genes')

    script:
    """
    cells-genes ${h5ad} --hgnc ${hgnc} --output genes --overwrite --unit ${id} \\
        ${options(settings.options)}
    """

    stub:
    """
    mkdir -p genes
    touch genes/genes.tsv
    """
}
