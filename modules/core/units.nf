// What a step depends on beside its files, as [id, settings]; of units that have the step.
def settings(units, step) {
    return units
        .filter { _id, unit -> unit.steps.containsKey(step) }
        .map { id, unit -> tuple(id, unit.steps[step]) }
}

// The units that leave a step out, as [id].
def without(units, step) {
    return units
        .filter { _id, unit -> !unit.steps.containsKey(step) }
        .map { id, _unit -> tuple(id) }
}

// The newest of what a chain of steps hands on, as [id, folder]: a step's where it is not left out.
def newest(units, step, before, made) {
    return without(units, step).join(before).mix(made)
}

// All folders of each unit, as [id, folders], with a step's where it is not left out.
def grown(units, step, folders, made) {
    def with_step = folders.join(made).map { id, before, folder -> tuple(id, before + [folder]) }
    return without(units, step).join(folders).mix(with_step)
}

// The files of one role of a unit; none is an empty list.
def role(unit, name) {
    return unit.unit.inputs
        .findAll { input -> input.role == name }
        .collect { input -> file(input.path, glob: false) }
}
