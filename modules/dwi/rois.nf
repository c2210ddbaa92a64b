include { options } from '../core/quote'

// Regions of the corticospinal tract, one label a voxel.
process DWI_ROIS {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(register), path(tensor), path(mask),
        path(atlas, stageAs: 'input/*')

    output:
    tuple val(id), path('rois')

    script:
    def chosen = atlas ? "--atlas ${atlas}" : ''
    """
    dwi-rois ${register}/dwi/${settings.prefix}_from-orig_to-MNI152NLin6Asym_mode-points_xfm.nii.gz \\
        --fa ${tensor}/dwi/${settings.prefix}_space-orig_model-DTI_param-FA_dwimap.nii.gz \\
        --mask ${mask}/dwi/${settings.prefix}_desc-brain_mask.nii.gz ${chosen} \\
        --output rois --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p rois/dwi
    touch rois/dwi/${settings.prefix}_space-orig_desc-rois_dseg.nii.gz
    """
}
