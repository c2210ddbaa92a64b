#!/usr/bin/env bash
# Install the Debian packages that only tests need, where this user may; list the others.
# With CI=true a missing one is a failure.
set -euo pipefail

# command:package:what the tests do with it
needs=(
    "dwi2tensor:mrtrix3:reference values of the dwi lane"
    "chromium:chromium:screenshot of the report"
)

missing() {
    local need
    for need in "${needs[@]}"; do
        command -v "${need%%:*}" >/dev/null || printf '%s\n' "$need"
    done
}

become_root=()
may_install() {
    command -v apt-get >/dev/null || return 1
    [[ $(id -u) == 0 ]] && return
    sudo -n true 2>/dev/null && become_root=(sudo -n)
}

mapfile -t absent < <(missing)
[[ ${#absent[@]} == 0 ]] && exit 0

if may_install; then
    packages=()
    for need in "${absent[@]}"; do
        rest=${need#*:}
        packages+=("${rest%%:*}")
    done
    echo "setup: installing for the tests: ${packages[*]}" >&2
    output=$(mktemp)
    trap 'rm -f "$output"' EXIT
    apt() { "${become_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@"; }
    { apt update && apt install -y --no-install-recommends "${packages[@]}"; } \
        >"$output" 2>&1 </dev/null || tail -n 3 "$output" >&2
    mapfile -t absent < <(missing)
fi

for need in "${absent[@]}"; do
    rest=${need#*:}
    echo "setup: left out, ${rest#*:}: install ${rest%%:*} (as root: apt-get install ${rest%%:*})" >&2
done
if [[ ${#absent[@]} != 0 && ${CI:-} == true ]]; then
    echo "setup: ERROR with CI=true every test package must be there: see the lines above" >&2
    exit 1
fi
