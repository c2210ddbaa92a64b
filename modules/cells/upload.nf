include { options } from '../core/quote'

// Sends a dataset to a Hugging Face hub; the token is in the environment and nowhere else.
process CELLS_UPLOAD {
    tag "${id}"
    label 'network'

    input:
    tuple val(id), val(settings), path(convert), path(genes), path(age), path(split)

    output:
    tuple val(id), path('upload')

    script:
    def repository = settings.options.subMap('repo_id', 'suffix') + ['public': settings.options.public_repo]
    """
    cells-upload ${convert} --dataset ${id} --also ${genes}/genes.tsv --also ${age}/ages.tsv \\
        --also ${split}/split.json --output upload --overwrite --unit ${id} ${options(repository)}
    """

    stub:
    """
    mkdir -p upload
    touch upload/upload.json
    """
}
