#!/usr/bin/env nextflow

// cohortflow: every unit of a study through discover → plan → steps → publish → report.
//
//   nextflow run main.nf --lane dwi --input STUDY --outdir OUT -resume

include { CORE_PLAN    } from './modules/core/plan'
include { CORE_PUBLISH } from './modules/core/publish'
include { CORE_REPORT  } from './modules/core/report'
include { DWI_DISCOVER } from './modules/dwi/discover'
include { DWI          } from './modules/dwi.nf'

// The units of a plan that run, as [id, unit]; `unit.line` is the plan's line itself.
def units_to_run(plan) {
    return plan
        .splitText()
        .map { line -> [line.trim(), new groovy.json.JsonSlurperClassic().parseText(line)] }
        .filter { _line, entry -> entry.decision == 'run' }
        .map { line, entry -> tuple(entry.unit.id, entry + [line: line]) }
}

workflow {
    main:
    if (!(params.lane in ['dwi'])) {
        error("--lane ${params.lane}: choose one of: dwi")
    }
    if (!params.plan && (!params.input || !params.outdir)) {
        error("name the study with --input and the output folder with --outdir")
    }
    def outdir = params.outdir ? file(params.outdir, glob: false).toAbsolutePath().toString() : ''
    def input = params.input ? file(params.input, glob: false).toAbsolutePath().toString() : ''
    def filters = params.bids_filter_file
        ? file(params.bids_filter_file, glob: false).toAbsolutePath().toString()
        : ''
    def selection = [
        input: input,
        bids_filter_file: filters,
        participant_label: params.participant_label.toString().tokenize(' ,'),
        session_label: params.session_label.toString().tokenize(' ,'),
    ]
    def wishes = [refresh: params.manifest ? true : false] + params.subMap(
        'overwrite', 'rerun_failed', 'stale', 'limit', 'gradient_check'
    )

    // The front door plans by itself; a bare run discovers and plans here.
    if (params.plan) {
        plan = channel.fromPath(params.plan, checkIfExists: true, glob: false)
    }
    else {
        manifest = params.manifest
            ? channel.fromPath(params.manifest, checkIfExists: true, glob: false)
            : DWI_DISCOVER(selection)
        plan = CORE_PLAN(manifest, input, outdir, params.run_id, wishes)
    }

    units = units_to_run(plan)
    folders = DWI(units)
    CORE_PUBLISH(folders, outdir)

    if (!params.plan) {
        CORE_REPORT(plan, CORE_PUBLISH.out.toList(), outdir, workflow.workDir.toString())
    }
}
