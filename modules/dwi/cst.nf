include { options } from '../core/quote'

// The corticospinal tract of each side: streamlines, core, density.
process DWI_CST {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(track), path(tensor), path(register), path(rois)

    output:
    tuple val(id), path('cst')

    script:
    """
    dwi-cst ${track}/dwi/${settings.prefix}_desc-candidates_tractogram.trk \\
        --made ${tensor} --made ${register} --made ${rois} \\
        --output cst --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p cst/dwi
    touch cst/dwi/${settings.prefix}_desc-CST{left,right}_tractogram.{trk,tck}
    """
}
