include { quote } from './quote'

// The first task on a cluster: does a node see what a step needs? Its tag is the question that its
// failure answers.
process CORE_PROBE {
    tag 'does a node see the work folder, the tools and the output?'
    label 'head'
    cache false

    input:
    val _ready
    val lane
    val outdir

    output:
    val true

    script:
    def seen = file(outdir, glob: false).exists() ? "--outdir ${quote(outdir)}" : ''
    """
    core-probe ${quote(lane)} ${seen}
    """

    stub:
    """
    true
    """
}
