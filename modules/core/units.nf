// What a step depends on beside its files, as [id, settings].
def settings(units, step) {
    return units.map { id, unit -> tuple(id, unit.steps[step]) }
}

// The files of one role of a unit; none is an empty list.
def role(unit, name) {
    return unit.unit.inputs
        .findAll { input -> input.role == name }
        .collect { input -> file(input.path, glob: false) }
}
