include { quote } from './quote'

// Ends what earlier runs of this output left in container engines and in Slurm. What computes or
// publishes waits for it: a job that still runs could write into a work folder that is used again.
process CORE_SWEEP {
    label 'here'
    debug true
    cache false

    input:
    val outdir

    output:
    val true

    script:
    """
    core-sweep ${quote(outdir)} 2>&1
    """

    stub:
    """
    true
    """
}
