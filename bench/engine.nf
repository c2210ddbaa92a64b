// Three steps that do nothing, for a number of units: what is left is the engine's own time.

process ONE {
    tag "${id}"

    input:
    val id

    output:
    tuple val(id), path('one')

    script:
    """
    mkdir one
    """
}

process TWO {
    tag "${id}"

    input:
    tuple val(id), path(one)

    output:
    tuple val(id), path('two')

    script:
    """
    mkdir two
    """
}

process THREE {
    tag "${id}"

    input:
    tuple val(id), path(two)

    output:
    tuple val(id), path('three')

    script:
    """
    mkdir three
    """
}

workflow {
    THREE(TWO(ONE(channel.of(1..params.units))))
}
