include { options } from '../core/quote'

// Numbers of the corticospinal tract: size, diffusion, profiles, laterality; methods text.
process DWI_METRICS {
    tag "${id}"
    label 'small'

    input:
    tuple val(id), val(settings), path(orient), path(tensor), path(fod), path(register), path(rois), path(track), path(cst)

    output:
    tuple val(id), path('metrics')

    script:
    """
    dwi-metrics ${orient} ${tensor} ${fod} ${register} ${rois} ${track} ${cst} \\
        --output metrics --overwrite --unit ${id} ${options(settings.options)}
    """

    stub:
    """
    mkdir -p metrics/dwi
    touch metrics/dwi/${settings.prefix}_desc-CST_profile.tsv
    """
}
