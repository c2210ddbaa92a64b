include { quote } from './quote'

// Writes the report of a bare run, when every unit has ended; the front door writes its own.
process CORE_REPORT {
    label 'head'
    cache false

    input:
    val plan // a path as text: the report takes what it needs from the work folder itself
    val published
    val outdir
    val work

    output:
    val true

    script:
    """
    core-report ${quote(outdir)} --plan ${quote(plan)} --work ${quote(work)}
    """

    stub:
    """
    core-report ${quote(outdir)} --plan ${quote(plan)} --work ${quote(work)} --dry-run
    """
}
