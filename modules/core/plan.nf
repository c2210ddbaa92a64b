include { quote   } from './quote'
include { options } from './quote'

// The lane's parameters as options of core-plan.
def given(parameters) {
    return parameters.collect { name, value -> "--parameter ${quote(name + '=' + value)}" }.join(' ')
}

// Decides which units run; sees the output, writes nothing there.
process CORE_PLAN {
    label 'head'
    cache false

    input:
    path manifest
    val dataset
    val outdir
    val run_id
    val wishes // Map: lane, parameters: Map, refresh, overwrite, rerun_failed, stale, limit

    output:
    path 'plan.jsonl'

    script:
    def chosen = options(wishes.subMap('overwrite', 'rerun_failed', 'stale', 'limit', 'refresh'))
    """
    core-plan ${manifest} --lane ${quote(wishes.lane)} --dataset ${quote(dataset)} \\
        --outdir ${quote(outdir)} --run ${quote(run_id)} \\
        ${given(wishes.parameters)} ${chosen} --output plan.jsonl
    """

    stub:
    """
    core-plan ${manifest} --lane ${quote(wishes.lane)} --dataset ${quote(dataset)} \\
        --outdir ${quote(outdir)} --run ${quote(run_id)} \\
        ${given(wishes.parameters)} --output plan.jsonl
    """
}
