#!/usr/bin/env nextflow

// cohortflow: every unit of a study through discover → plan → steps → publish → report.
//
//   nextflow run main.nf --lane dwi --input STUDY --outdir OUT -resume

include { CORE_SWEEP     } from './modules/core/sweep'
include { CORE_PROBE     } from './modules/core/probe'
include { CORE_PLAN      } from './modules/core/plan'
include { CORE_PUBLISH   } from './modules/core/publish'
include { CORE_REPORT    } from './modules/core/report'
include { DWI_DISCOVER   } from './modules/dwi/discover'
include { DWI            } from './modules/dwi.nf'
include { CELLS_DISCOVER } from './modules/cells/discover'
include { CELLS          } from './modules/cells.nf'

// A path as text, without `.` and `..`.
def absolute(path) {
    return file(path, glob: false).toAbsolutePath().normalize().toString()
}

// What a parameter names, as text that means the same in every task's folder: a path or an address.
def located(text) {
    return text && !(text ==~ '\\w+://.*') ? absolute(text) : text
}

// The parameters that each lane has, as its module `lane` states them.
def parameters_of(lane) {
    return [
        dwi: [
            'denoise', 'unring', 'correct', 'outliers', 'mask', 'bias', 'gradient_check', 'tensor', 'fod',
            'atlas', 'register', 'tracking', 'seeds', 'step_size', 'max_angle', 'fa_threshold', 'random_seed',
        ],
        cells: [
            'hgnc', 'matrix', 'top_genes', 'chunk_size', 'compression', 'compression_level', 'test_size',
            'split_by', 'donor_column', 'split_seed', 'skip_train_test_split', 'gene_ids', 'repo_id',
            'public_repo',
        ],
    ][lane]
}

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
    if (!(params.lane in ['dwi', 'cells'])) {
        error("--lane ${params.lane}: choose one of: dwi, cells")
    }
    if (!params.plan && (!params.input || !params.outdir)) {
        error("name the study with --input and the output folder with --outdir")
    }
    def outdir = params.outdir ? absolute(params.outdir) : ''
    def input = params.input ? absolute(params.input) : ''
    def filters = params.bids_filter_file
        ? absolute(params.bids_filter_file)
        : ''
    if (params.lane == 'cells' && (params.participant_label || params.session_label || params.bids_filter_file)) {
        error("lane cells has no subjects and sessions: choose units with --manifest")
    }
    def parameters = params.subMap(parameters_of(params.lane)) +
        (params.lane == 'cells' ? [hgnc: located(params.hgnc)] : [atlas: located(params.atlas)])
    def selection = [
        input: input,
        hgnc: parameters.hgnc,
        atlas: parameters.atlas,
        bids_filter_file: filters,
        participant_label: params.participant_label.toString().tokenize(' ,'),
        session_label: params.session_label.toString().tokenize(' ,'),
    ]
    def wishes = [
        lane: params.lane, parameters: parameters, refresh: params.manifest ? true : false
    ] + params.subMap('overwrite', 'rerun_failed', 'stale', 'limit')

    // A bare run ends what a killed one left in containers and queues; a cluster is tried first.
    def isolated = workflow.containerEngine in ['docker', 'podman']
    ready = channel.of(true)
    if (!params.plan && (params.cluster || isolated)) {
        ready = CORE_SWEEP(outdir)
    }
    if (params.cluster) {
        ready = CORE_PROBE(ready, params.lane, input, outdir)
    }

    // The front door plans by itself; a bare run discovers and plans here.
    if (params.plan) {
        plan = ready.map { _ready -> file(params.plan, checkIfExists: true, glob: false) }
    }
    else {
        if (params.manifest) {
            manifest = ready.map { _ready -> file(params.manifest, checkIfExists: true, glob: false) }
        }
        else if (params.lane == 'cells') {
            manifest = CELLS_DISCOVER(ready.map { _ready -> selection })
        }
        else {
            manifest = DWI_DISCOVER(ready.map { _ready -> selection })
        }
        plan = CORE_PLAN(manifest, input, outdir, params.run_id, wishes)
    }

    units = units_to_run(plan)
    folders = params.lane == 'cells' ? CELLS(units) : DWI(units)
    CORE_PUBLISH(folders, outdir)

    if (!params.plan) {
        CORE_REPORT(plan.map { path -> path.toString() }, CORE_PUBLISH.out.toList(), outdir, workflow.workDir.toString())
    }
}
