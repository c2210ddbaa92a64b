#!/usr/bin/env bash
# Convert an image into the one file that Apptainer starts.
#
#   containers/convert.sh podman|docker IMAGE FILE
set -euo pipefail

archive=$(mktemp -d)
trap 'rm -rf "$archive"' EXIT
"$1" save --output "$archive/image.tar" "$2"
apptainer build "$3" "docker-archive:$archive/image.tar"
