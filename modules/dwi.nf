// Diffusion MRI: convert → denoise → unring → correct → mask → bias → orient → tensor, fod, then
// the corticospinal tract: register → rois → track → cst → metrics.
//
// A step that a parameter leaves out is not in the plan: what came before it goes on to the next.

include { settings     } from './core/units'
include { role         } from './core/units'
include { newest       } from './core/units'
include { grown        } from './core/units'
include { DWI_CONVERT  } from './dwi/convert'
include { DWI_DENOISE  } from './dwi/denoise'
include { DWI_UNRING   } from './dwi/unring'
include { DWI_CORRECT  } from './dwi/correct'
include { DWI_MASK     } from './dwi/mask'
include { DWI_BIAS     } from './dwi/bias'
include { DWI_ORIENT   } from './dwi/orient'
include { DWI_TENSOR   } from './dwi/tensor'
include { DWI_FOD      } from './dwi/fod'
include { DWI_REGISTER } from './dwi/register'
include { DWI_ROIS     } from './dwi/rois'
include { DWI_TRACK    } from './dwi/track'
include { DWI_CST      } from './dwi/cst'
include { DWI_METRICS  } from './dwi/metrics'

workflow DWI {
    take:
    units // [id: String, unit: Map (a line of the plan)]

    main:
    inputs = units.map { id, unit ->
        tuple(
            id, role(unit, 'dwi') + role(unit, 'dicom'),
            role(unit, 'bval'), role(unit, 'bvec'), role(unit, 'json'),
            role(unit, 'reverse'), role(unit, 'reverse_bval'), role(unit, 'reverse_json')
        )
    }
    DWI_CONVERT(settings(units, 'convert').join(inputs))
    converted = DWI_CONVERT.out

    DWI_DENOISE(settings(units, 'denoise').join(converted))
    denoised = newest(units, 'denoise', converted, DWI_DENOISE.out)

    DWI_UNRING(settings(units, 'unring').join(denoised))
    unringed = newest(units, 'unring', denoised, DWI_UNRING.out)

    DWI_CORRECT(settings(units, 'correct').join(unringed).join(converted))
    corrected = newest(units, 'correct', unringed, DWI_CORRECT.out)

    DWI_MASK(settings(units, 'mask').join(corrected))

    DWI_BIAS(settings(units, 'bias').join(corrected).join(DWI_MASK.out))
    unbiased = newest(units, 'bias', corrected, DWI_BIAS.out)

    DWI_ORIENT(settings(units, 'orient').join(unbiased).join(DWI_MASK.out))

    DWI_TENSOR(settings(units, 'tensor').join(DWI_ORIENT.out).join(DWI_MASK.out))
    DWI_FOD(settings(units, 'fod').join(DWI_ORIENT.out).join(DWI_MASK.out))

    atlas = units.map { id, unit -> tuple(id, role(unit, 'atlas')) }
    DWI_REGISTER(settings(units, 'register').join(DWI_TENSOR.out).join(DWI_MASK.out).join(atlas))
    DWI_ROIS(settings(units, 'rois').join(DWI_REGISTER.out).join(DWI_TENSOR.out).join(DWI_MASK.out).join(atlas))
    DWI_TRACK(settings(units, 'track').join(DWI_FOD.out).join(DWI_TENSOR.out).join(DWI_MASK.out).join(DWI_ROIS.out))
    DWI_CST(
        settings(units, 'cst').join(DWI_TRACK.out).join(DWI_TENSOR.out).join(DWI_REGISTER.out).join(DWI_ROIS.out)
    )
    DWI_METRICS(
        settings(units, 'metrics')
            .join(DWI_ORIENT.out).join(DWI_TENSOR.out).join(DWI_FOD.out).join(DWI_REGISTER.out)
            .join(DWI_ROIS.out).join(DWI_TRACK.out).join(DWI_CST.out)
    )

    made = converted.map { id, folder -> tuple(id, [folder]) }
    made = grown(units, 'denoise', made, DWI_DENOISE.out)
    made = grown(units, 'unring', made, DWI_UNRING.out)
    made = grown(units, 'correct', made, DWI_CORRECT.out)
    made = grown(units, 'mask', made, DWI_MASK.out)
    made = grown(units, 'bias', made, DWI_BIAS.out)
    made = grown(units, 'orient', made, DWI_ORIENT.out)
    made = grown(units, 'tensor', made, DWI_TENSOR.out)
    made = grown(units, 'fod', made, DWI_FOD.out)
    made = grown(units, 'register', made, DWI_REGISTER.out)
    made = grown(units, 'rois', made, DWI_ROIS.out)
    made = grown(units, 'track', made, DWI_TRACK.out)
    made = grown(units, 'cst', made, DWI_CST.out)
    made = grown(units, 'metrics', made, DWI_METRICS.out)

    folders = units.map { id, unit -> tuple(id, unit.line) }.join(made)

    emit:
    folders // [id: String, line: String, folders: List<Path>, in the order of the steps]
}
