include { quote } from './quote'

// Writes the report of a bare run, when every unit has ended; the front door writes its own.
process CORE_REPORT {
    label 'head'
    cache false

    input:
    path manifest
    path plan
    val published
    val outdir
    val run_id
    val work

    output:
    val run_id

    script:
    """
    core-report ${quote(outdir)} --run ${quote(run_id)} --manifest ${manifest} --plan ${plan} \\
        --work ${quote(work)}
    """

    stub:
    """
    core-report ${quote(outdir)} --run ${quote(run_id)} --plan ${plan} --dry-run
    """
}
