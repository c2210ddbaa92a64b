include { quote } from './quote'

// The first task on a cluster: does a node see what a step needs? Its tag is the question that its
// failure answers.
process CORE_PROBE {
    tag 'does a node see the work folder, the tools, the study and the output?'
    label 'head'
    cache false

    input:
    val _ready
    val lane
    val dataset
    val outdir

    output:
    val true

    script:
    def study = dataset ? "--study ${quote(dataset)}" : ''
    def output = file(outdir, glob: false).exists() ? "--outdir ${quote(outdir)}" : ''
    """
    core-probe ${quote(lane)} ${study} ${output}
    """

    stub:
    """
    true
    """
}
