#!/usr/bin/env bash
# Make the image of every lane that is not there yet; done in an instant when all are.
#
#   containers/build.sh       or, in a checkout,       make images
#
# Variables, also as `make images RUNTIME=charliecloud`:
#   RUNTIME       podman, docker, charliecloud or apptainer; Podman, else Docker, when left out
#   IMAGE_PREFIX  what an image's name begins with (localhost)
#   IMAGE_FOLDER  where Charliecloud's folders and Apptainer's files are kept (.images)
#   BASE_IMAGE    the image to build on, instead of the one that the recipe names
#   WHEELS        a folder of wheels to install from, without a network
#   PIP_CERT, SSL_CERT_FILE, PIP_INDEX_URL, HTTPS_PROXY ... as for pip
set -euo pipefail
# shellcheck source=containers/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

prefix=${IMAGE_PREFIX:-localhost}
folder=${IMAGE_FOLDER:-$root/.images}

# The contract with conf/containers.config and cohortflow.core.images.
tag() { cat "$here/$1/Containerfile" "$root/requirements.lock" | digest | cut -c1-12; }

lanes() {
    local recipe
    for recipe in "$here"/*/Containerfile; do basename "$(dirname "$recipe")"; done
}

# Podman, else a Docker that answers.
find_engine() {
    if command -v podman >/dev/null; then
        echo podman
    elif command -v docker >/dev/null && docker version >/dev/null 2>&1; then
        echo docker
    else
        fail "images are built by Podman or Docker, and neither answers here: install Podman" \
            "(Debian: apt-get install podman), or bring the images from another machine" \
            "(docs/containers.md)"
    fi
}

there() { "$engine" image inspect "$1" >/dev/null 2>&1 9>&-; }
pull() { "$engine" pull --quiet "$1" >"$scratch/pull" 2>&1 </dev/null 9>&-; }

# The image to build on; one that no registry gives is made here, unless it was asked for by name.
base_image() {
    local wanted=${BASE_IMAGE:-} made=localhost/cohortflow-base:bookworm
    if [[ -z $wanted ]]; then
        wanted=$(sed -n 's/^ARG BASE_IMAGE=//p' "$1")
        if ! there "$wanted" && there "$made"; then wanted=$made; fi
    fi
    if ! there "$wanted" && ! pull "$wanted"; then
        [[ -z ${BASE_IMAGE:-} ]] && command -v mmdebstrap >/dev/null || fail \
            "the base image $wanted cannot be pulled ($(tail -n 1 "$scratch/pull")): name one that" \
            "is here with BASE_IMAGE, or install mmdebstrap (Debian) to make one"
        say "$wanted cannot be pulled: making a base image with mmdebstrap"
        wanted=$made
        quietly "no base image could be made with mmdebstrap" "see the log" \
            bash "$here/base.sh" "$engine" "$wanted"
    fi
    echo "$wanted"
}

# What the machine's settings mean to a build, one word a line; a proxy's password stays out of it.
build_options() {
    local authority=${PIP_CERT:-${SSL_CERT_FILE:-}} name
    echo --network=host
    # Layers that nobody builds on would take the room of a second image.
    [[ $engine == docker ]] || echo --layers=false
    if [[ -n $authority ]]; then
        [[ -r $authority ]] ||
            fail "PIP_CERT or SSL_CERT_FILE names $authority, which cannot be read: correct it"
        printf '%s\n' --secret "id=ca,src=$authority"
    fi
    if [[ -n ${PIP_INDEX_URL:-} ]]; then
        printf '%s\n' --secret "id=index,src=$scratch/index"
        printf '%s' "$PIP_INDEX_URL" >"$scratch/index"
    fi
    for name in {http,https,no}_proxy {HTTP,HTTPS,NO}_PROXY; do
        [[ -z ${!name:-} ]] || printf '%s\n' --build-arg "$name"
    done
}

# The folder that the engine sees: never the whole checkout.
stage() {
    mkdir -p "$1/wheels"
    cp "$root/requirements.lock" "$1"
    [[ -z ${WHEELS:-} ]] || cp "$WHEELS"/*.whl "$1/wheels" ||
        fail "WHEELS=$WHEELS holds no wheels: see docs/containers.md"
}

build() {
    local lane=$1 name=$2 recipe=$here/$1/Containerfile base text options
    "$engine" version >/dev/null 2>&1 || fail "$engine does not answer: start it, or leave RUNTIME out"
    base=$(base_image "$recipe")
    text=$(build_options)
    mapfile -t options <<<"$text"
    stage "$scratch/context"
    say "building $name with $engine"
    DOCKER_BUILDKIT=1 quietly "the image of $lane could not be built" "see the log" \
        "$engine" build "${options[@]}" --tag "$name" --file "$recipe" \
        --build-arg "BASE_IMAGE=$base" \
        --build-arg "VERSION=$(sed -n "s/^ *version *= '\(.*\)'/\1/p" "$root/nextflow.config")" \
        --build-arg "REVISION=$(git -C "$root" rev-parse HEAD 2>/dev/null || :)" \
        --build-arg "LOCK=$(digest <"$root/requirements.lock")" \
        "$scratch/context"
}

image() {
    local name=$prefix/cohortflow-$1:$(tag "$1")
    there "$name" || { take_turn && there "$name"; } || build "$1" "$name"
    echo "$name"
}

# other_form LANE SUFFIX SCRIPT: a folder or file that appears when it is complete.
other_form() {
    local target=$folder/cohortflow-$1-$(tag "$1")$2 name
    [[ ! -e $target ]] || return 0
    engine=$(find_engine)
    name=$(image "$1")
    say "making $target"
    mkdir -p "$folder"
    part=$target.part.$$
    quietly "$target could not be made" "see the log" bash "$here/$3" "$engine" "$name" "$part"
    # Another one may have been quicker.
    mv -T "$part" "$target" 2>/dev/null || [[ -e $target ]]
    part=
}

main() {
    local lane runtime=${RUNTIME:-}
    [[ -n $runtime ]] || runtime=$(find_engine)
    for lane in $(lanes); do
        case $runtime in
            podman | docker) engine=$runtime image "$lane" >/dev/null ;;
            charliecloud) other_form "$lane" "" unpack.sh ;;
            apptainer)
                command -v apptainer >/dev/null || fail "apptainer is not on PATH: install it here"
                other_form "$lane" .sif convert.sh
                ;;
            *) fail "RUNTIME=$runtime: choose podman, docker, charliecloud or apptainer" ;;
        esac
    done
}

main
