// Diffusion MRI: convert → mask → tensor.

include { settings    } from './core/units'
include { role        } from './core/units'
include { DWI_CONVERT } from './dwi/convert'
include { DWI_MASK    } from './dwi/mask'
include { DWI_TENSOR  } from './dwi/tensor'

workflow DWI {
    take:
    units // [id: String, unit: Map (a line of the plan)]

    main:
    inputs = units.map { id, unit ->
        tuple(
            id, role(unit, 'dwi') + role(unit, 'dicom'),
            role(unit, 'bval'), role(unit, 'bvec'), role(unit, 'json')
        )
    }
    DWI_CONVERT(settings(units, 'convert').join(inputs))
    DWI_MASK(settings(units, 'mask').join(DWI_CONVERT.out))
    DWI_TENSOR(settings(units, 'tensor').join(DWI_CONVERT.out).join(DWI_MASK.out))

    folders = units
        .map { id, unit -> tuple(id, unit.line) }
        .join(DWI_CONVERT.out)
        .join(DWI_MASK.out)
        .join(DWI_TENSOR.out)
        .map { id, line, convert, mask, tensor -> tuple(id, line, [convert, mask, tensor]) }

    emit:
    folders // [id: String, line: String, folders: List<Path>, in the order of the steps]
}
