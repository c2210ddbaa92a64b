include { quote } from './quote'

// Makes a unit's outputs appear, complete and with their marker. Always runs: a cached publish
// would restore nothing after the output was deleted.
process CORE_PUBLISH {
    tag "${id}"
    label 'publish'
    cache false

    input:
    tuple val(id), val(line), path(folders)
    val outdir

    output:
    val id

    script:
    """
    core-publish --unit ${quote(id)} --outdir ${quote(outdir)} ${folders} <<'COHORTFLOW_UNIT'
    ${line}
    COHORTFLOW_UNIT
    """

    stub:
    """
    core-publish --dry-run --unit ${quote(id)} --outdir ${quote(outdir)} ${folders} <<< '{}'
    """
}
