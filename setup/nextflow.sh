#!/bin/sh
# Start Nextflow from the jars beside the environment. Installed as bin/nextflow,
# bin/nextflow-lint and bin/nextflow-strict of the virtual environment; the name decides.
#
# NXF_JAVA_HOME chooses another Java, NXF_OPTS and NXF_JVM_ARGS add to (and win over) the flags here.
set -eu

self=$(readlink -f "$0")
opt=$(dirname "$(dirname "$self")")/opt

java=$opt/java/bin/java
if [ -n "${NXF_JAVA_HOME:-}" ]; then
    java=$NXF_JAVA_HOME/bin/java
fi
if [ ! -x "$java" ]; then
    echo "ERROR CONFIG - no Java at $java: run \`make setup\` again" >&2
    exit 78
fi

case ${self##*/} in
    nextflow-lint) libs=$opt/nextflow-lint; first=lint ;;
    nextflow-strict) libs=$opt/nextflow-lint; first=; export NXF_SYNTAX_PARSER=v2 ;;
    *) libs=$opt/nextflow-24.10.0; first= ;;
esac

# The launcher from PyPI keeps what it downloaded beside itself.
if [ ! -d "$libs" ] && [ -z "$first" ] && [ -x "$opt/nextflow-launcher/bin/nextflow" ]; then
    export NXF_DIST="$opt/nextflow-launcher/framework" NXF_JAVA_HOME="${NXF_JAVA_HOME:-$opt/java}"
    export NXF_OFFLINE="${NXF_OFFLINE:-true}"
    exec "$opt/nextflow-launcher/bin/nextflow" "$@"
fi

export NXF_OFFLINE="${NXF_OFFLINE:-true}"
export NXF_HOME="${NXF_HOME:-${HOME:-.}/.nextflow}"
export NXF_ORG="${NXF_ORG:-nextflow-io}"
export NXF_CLI="nextflow${first:+ $first} $*"
export JAVA_CMD="$java"
unset JAVA_TOOL_OPTIONS

# The packages that Nextflow's own launcher opens on Java 17 and newer.
opens=
for package in java.io java.lang java.net java.nio java.nio.file.spi java.util \
    java.util.concurrent.atomic java.util.concurrent.locks java.util.regex \
    jdk.internal.misc jdk.internal.vm sun.net.www.protocol.file sun.net.www.protocol.ftp \
    sun.net.www.protocol.http sun.net.www.protocol.https sun.nio.ch sun.nio.fs; do
    opens="$opens --add-opens=java.base/$package=ALL-UNNAMED"
done

# The short compiler tier and the serial collector cut a small run from 6 s to 2 s.
# shellcheck disable=SC2086 # lists of options are meant to be split
exec "$java" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xms64m -Xmx1g \
    -Dfile.encoding=UTF-8 -Djava.awt.headless=true $opens \
    ${NXF_OPTS:-} ${NXF_JVM_ARGS:-} \
    -cp "$libs/*" nextflow.cli.Launcher $first "$@"
