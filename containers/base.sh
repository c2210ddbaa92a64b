#!/usr/bin/env bash
# Make a base image from Debian packages alone, where no image registry can be reached.
#
#   containers/base.sh podman|docker NAME
#
# DEBIAN_MIRROR names another mirror than Debian's own; http_proxy is used as by apt-get.
set -euo pipefail
# shellcheck source=containers/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

engine=$1
name=$2

# Manuals and translations are a fifth of it. Each engine brings its own /dev.
mmdebstrap --variant=minbase --skip=output/dev \
    --include=python3,python3-venv,python3-pip,ca-certificates,procps \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    bookworm "$scratch/base.tar" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
"$engine" import --change ENV=LANG=C.UTF-8 --change 'CMD ["/bin/bash"]' "$scratch/base.tar" "$name"
