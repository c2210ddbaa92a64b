include { options } from '../core/quote'

// Candidate streamlines of the corticospinal tract.
process DWI_TRACK {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(fod), path(tensor), path(mask), path(rois)

    output:
    tuple val(id), path('track')

    script:
    """
    dwi-track ${fod} --made ${tensor} --made ${rois} \\
        --mask ${mask}/dwi/${settings.prefix}_desc-brain_mask.nii.gz \\
        --output track --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p track/dwi
    touch track/dwi/${settings.prefix}_desc-candidates_tractogram.trk
    """
}
