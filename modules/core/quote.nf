// One shell word, whatever the text holds.
def quote(text) {
    return "'" + text.toString().replace("'", "'\\''") + "'"
}

// `--name value` for each of a map's entries that are set; lists repeat the option, and what is
// true, also as a word, needs no value.
def options(values) {
    return values
        .findAll { _name, value -> !(value in [null, '', false, 'false', 0]) }
        .collectMany { name, value ->
            def option = '--' + name.toString().replace('_', '-')
            value instanceof List ? value.collect { item -> "${option} ${quote(item)}" }
                : value in [true, 'true'] ? [option]
                : ["${option} ${quote(value)}"]
        }
        .join(' ')
}
