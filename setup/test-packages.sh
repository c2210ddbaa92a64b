#!/usr/bin/env bash
# Install the Debian packages that only tests need, where this user may; list the others.
# With CI=true a missing one is a failure.
set -euo pipefail

# command:package:what the tests do with it
needs=(
    "dwi2tensor:mrtrix3:reference values of the dwi lane"
    "strace:strace:a kill at every step of publishing"
    "chromium:chromium:screenshot of the report"
    "pg_createcluster:postgresql:a ledger on a server, killed and started again"
    "slurmctld:slurm-wlm:runs on a Slurm cluster of this machine"
    "munged:munge:the same"
    "podman:podman:steps in containers"
    "runc:runc:the same"
    "catatonit:catatonit:the same, ended with their run"
    "ch-run:charliecloud-runtime:steps in unpacked images"
    "mmdebstrap:mmdebstrap:a base image where no registry is reachable"
)

missing() {
    local need
    for need in "${needs[@]}"; do
        command -v "${need%%:*}" >/dev/null || printf '%s\n' "$need"
    done
}

# The command in front of apt-get: nothing for root, sudo where it asks for no password.
as_root() {
    command -v apt-get >/dev/null || return 1
    [[ $(id -u) == 0 ]] && echo env && return
    sudo -n true 2>/dev/null && echo "sudo -n env"
}

install() {
    local output packages
    packages=$(missing | cut -d: -f2 | paste -sd' ' -)
    echo "setup: installing for the tests: $packages" >&2
    output=$(mktemp)
    # shellcheck disable=SC2086 # both are lists of words
    {
        $1 DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
            $1 DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages
    } >"$output" 2>&1 </dev/null || tail -n 1 "$output" >&2
    rm -f "$output"
}

[[ -z $(missing) ]] && exit 0
if prefix=$(as_root); then
    install "$prefix"
fi
missing | while IFS=: read -r _ package use; do
    echo "setup: left out, $use: needs $package (as root: apt-get install $package)" >&2
done
if [[ -n $(missing) && ${CI:-} == true ]]; then
    echo "setup: ERROR with CI=true every test package must be there: see the lines above" >&2
    exit 1
fi
