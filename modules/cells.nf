// Single cells: genes, age and split, each from the file alone → convert → upload, where asked for.

include { settings      } from './core/units'
include { grown         } from './core/units'
include { role          } from './core/units'
include { CELLS_GENES   } from './cells/genes'
include { CELLS_AGE     } from './cells/age'
include { CELLS_SPLIT   } from './cells/split'
include { CELLS_CONVERT } from './cells/convert'
include { CELLS_UPLOAD  } from './cells/upload'

workflow CELLS {
    take:
    units // [id: String, unit: Map (a line of the plan)]

    main:
    h5ad = units.map { id, unit -> tuple(id, role(unit, 'h5ad')) }
    hgnc = units.map { id, unit -> tuple(id, role(unit, 'hgnc')) }

    CELLS_GENES(settings(units, 'genes').join(h5ad).join(hgnc))
    CELLS_AGE(settings(units, 'age').join(h5ad))
    CELLS_SPLIT(settings(units, 'split').join(h5ad))
    decided = CELLS_GENES.out.join(CELLS_AGE.out).join(CELLS_SPLIT.out)
    CELLS_CONVERT(settings(units, 'convert').join(h5ad).join(decided))

    CELLS_UPLOAD(settings(units, 'upload').join(CELLS_CONVERT.out).join(decided))

    made = CELLS_CONVERT.out
        .join(decided)
        .map { id, convert, genes, age, split -> tuple(id, [convert, genes, age, split]) }
    made = grown(units, 'upload', made, CELLS_UPLOAD.out)
    folders = units.map { id, unit -> tuple(id, unit.line) }.join(made)

    emit:
    folders // [id: String, line: String, folders: List<Path>, the one with the first numbers first]
}
