// One step for a number of units; the work is a command of the shell.

process WORK {
    tag "${id}"

    input:
    val id

    output:
    tuple val(id), path('done')

    script:
    """
    ${params.work}
    mkdir done
    """
}

workflow {
    WORK(channel.of(1..params.units))
}
