include { options } from '../core/quote'

// Template coordinates of each voxel; refuses a brain that does not fit or is cut.
process DWI_REGISTER {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(tensor), path(mask), path(atlas, stageAs: 'input/*')

    output:
    tuple val(id), path('register')

    script:
    def chosen = atlas ? "--atlas ${atlas}" : ''
    """
    dwi-register ${tensor}/dwi/${settings.prefix}_space-orig_model-DTI_param-FA_dwimap.nii.gz \\
        --mask ${mask}/dwi/${settings.prefix}_desc-brain_mask.nii.gz ${chosen} \\
        --output register --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p register/dwi
    touch register/dwi/${settings.prefix}_from-orig_to-MNI152NLin6Asym_mode-points_xfm.nii.gz
    """
}
