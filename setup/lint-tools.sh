#!/usr/bin/env bash
# Add nextflow-lint and nextflow-strict (Nextflow 25.04 with the strict parser) to .venv.
# For developers: a run needs neither.
set -euo pipefail
# shellcheck source=setup/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

libs=$opt/nextflow-lint
wanted=$(cat "$root"/setup/nextflow-pom.xml "$root"/setup/lint-pom.xml "$root"/setup/nextflow.sh | digest)
if [[ -f $libs/.complete && $(<"$libs/.complete") == "$wanted" && -x $venv/bin/nextflow-lint ]]; then
    exit 0
fi

command -v mvn >/dev/null ||
    fail "no Maven for the strict Nextflow parser: install it (Debian: apt-get install maven)"
say "resolving the strict Nextflow parser with Maven"
rm -rf "$libs" "$libs.part"
maven "$root/setup/nextflow-pom.xml" "$libs.part" -DexcludeGroupIds=io.nextflow
maven "$root/setup/lint-pom.xml" "$libs.part"
printf '%s\n' "$wanted" >"$libs.part/.complete"
mv "$libs.part" "$libs"
for name in nextflow-lint nextflow-strict; do
    cp "$root/setup/nextflow.sh" "$venv/bin/$name"
    chmod +x "$venv/bin/$name"
done
