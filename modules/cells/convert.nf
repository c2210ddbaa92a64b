include { options } from '../core/quote'

// Cell sentences as parquet, with a page that describes them.
process CELLS_CONVERT {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(h5ad, stageAs: 'input/*'), path(genes), path(age), path(split)

    output:
    tuple val(id), path('convert')

    script:
    """
    cells-convert ${h5ad} --genes ${genes} --age ${age} --split ${split} --dataset ${id} \\
        --output convert --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p convert/data convert/figures
    touch convert/data/train-00000-of-00001.parquet convert/README.md
    touch convert/figures/${settings.prefix}_desc-overview.png
    """
}
