include { quote   } from '../core/quote'
include { options } from '../core/quote'

// Lists the h5ad files of a folder, usable or not; always runs, so that a file added is found.
process CELLS_DISCOVER {
    label 'head'
    cache false

    input:
    val selection // Map: input, hgnc

    output:
    path 'manifest.jsonl'

    script:
    """
    cells-discover ${quote(selection.input)} ${options(selection.subMap('hgnc'))} \\
        --output manifest.jsonl --overwrite
    """

    stub:
    """
    cells-discover ${quote(selection.input)} ${options(selection.subMap('hgnc'))} \\
        --output manifest.jsonl --overwrite
    """
}
