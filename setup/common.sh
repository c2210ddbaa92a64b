# Shared by the scripts of this folder (sourced). Messages are one line: what is wrong: what to do.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
opt=$venv/opt
log=$venv/setup.log

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: ERROR %s\n' "$*" >&2
    exit 1
}

# quietly WHAT REMEDY COMMAND... : run with the output in the log; on failure one line says why.
quietly() {
    local what=$1 remedy=$2 start
    shift 2
    printf '\n== %s\n' "$*" >>"$log"
    start=$(wc -c <"$log")
    "$@" >>"$log" 2>&1 </dev/null && return 0
    fail "$what: $(cause "$start" "$remedy") (log: ${log#"$root"/})"
}

# Tell a certificate or a proxy from any other cause by what the command itself printed.
cause() {
    local text
    text=$(tail -c "+$(($1 + 1))" "$log")
    case $text in
        *CERTIFICATE_VERIFY_FAILED* | *"PKIX path"* | *trustAnchors* | *SSLHandshakeException* | *"certificate verify failed"* | *SSLError* | *"unable to find valid certification path"*)
            echo "the certificate is not trusted: give your site's authority with PIP_CERT=FILE, and to Maven with MAVEN_OPTS=-Djavax.net.ssl.trustStore=FILE" ;;
        *"DO NOT MATCH THE HASHES"* | *"Checksum validation failed"*)
            echo "a download does not match its checksum: check the mirror or proxy in between, then run again" ;;
        *"No space left"* | *"Disk quota"*)
            echo "the disk is full: free some space, then run again" ;;
        *ProxyError* | *ConnectionError* | *NewConnectionError* | *ConnectTimeout* | *"timed out"* | *"name resolution"* | *"Name or service not known"* | *"Unknown host"* | *UnknownHostException* | *"Connection refused"* | *"Could not transfer"* | *"Network is unreachable"* | *"onnection to "*)
            echo "the package registry cannot be reached: behind a proxy set HTTPS_PROXY for pip and a <proxy> in Maven's settings.xml; for a site's certificate authority set PIP_CERT" ;;
        *) echo "$2" ;;
    esac
}

# The version of a Java between 17 and 23 ("17.0.15"), or nothing.
java_version() {
    local version
    version=$("$1" -XshowSettings:properties -version 2>&1 </dev/null |
        sed -n 's/^ *java\.version = \([0-9.]*\).*/\1/p') || return 0
    case ${version%%.*} in
        1[789] | 2[0123]) echo "$version" ;;
    esac
}

# PATH without this environment, so that a machine's own tool is told from ours.
outer_path() {
    printf '%s' "$PATH" | tr ':' '\n' | grep -vxF "$venv/bin" | paste -sd: -
}

# maven POM OUTPUT [OPTION]... : copy the jars that a pom names, complete or not at all.
maven() {
    local pom=$1 output=$2
    shift 2
    # A Java from PyPI knows only public authorities; Debian keeps the site's in this store.
    local options=${MAVEN_OPTS:-} store=/etc/ssl/certs/java/cacerts
    if [[ $options != *trustStore=* && -r $store ]]; then
        options="$options -Djavax.net.ssl.trustStore=$store"
    fi
    JAVA_HOME=$opt/java MAVEN_OPTS=$options PATH=$(outer_path) \
        quietly "Maven could not resolve ${pom##*/}" "see the log" \
        mvn --quiet --batch-mode --strict-checksums --file "$pom" \
        org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies "-DoutputDirectory=$output" "$@"
}

digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1
}
