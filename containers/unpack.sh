#!/usr/bin/env bash
# Unpack an image into a folder that Charliecloud starts.
#
#   containers/unpack.sh podman|docker IMAGE FOLDER
set -euo pipefail

engine=$1
image=$2
folder=$3

mkdir "$folder"
container=$("$engine" create "$image" true)
trap '"$engine" rm "$container"' EXIT
"$engine" export "$container" | tar -x -C "$folder" --exclude='dev/*' --exclude='./dev/*'

# Charliecloud mounts the machine's own over these, and creates none of them.
mkdir -p "$folder"/{ch,dev,etc,home,mnt,proc,sys,tmp}
touch "$folder"/etc/{group,hosts,passwd,resolv.conf}
"$engine" image inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$image" |
    grep -E '^(PATH|LANG)=' >"$folder/ch/environment"
