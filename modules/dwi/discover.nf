include { quote   } from '../core/quote'
include { options } from '../core/quote'

// Lists the units of a study, usable or not; always runs, so that a file added is found.
process DWI_DISCOVER {
    label 'head'
    cache false

    input:
    val selection // Map: input, participant_label, session_label, bids_filter_file, atlas

    output:
    path 'manifest.jsonl'

    script:
    def chosen = options(selection.subMap('participant_label', 'session_label', 'bids_filter_file', 'atlas'))
    """
    dwi-discover ${quote(selection.input)} ${chosen} --output manifest.jsonl --overwrite
    """

    stub:
    def chosen = options(selection.subMap('participant_label', 'session_label', 'bids_filter_file', 'atlas'))
    """
    dwi-discover ${quote(selection.input)} ${chosen} --output manifest.jsonl --overwrite
    """
}
