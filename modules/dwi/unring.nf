include { options } from '../core/quote'

// Less Gibbs ringing: local subvoxel shifts.
process DWI_UNRING {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(series, stageAs: 'series/*')

    output:
    tuple val(id), path('unring')

    script:
    """
    dwi-unring ${series}/dwi/*_dwi.nii* \\
        --output unring --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p unring/dwi
    touch unring/dwi/${settings.prefix}_desc-unringed_dwi.nii
    """
}
