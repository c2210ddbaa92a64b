# Shared by the scripts of this folder (sourced). Messages are one line: what is wrong: what to do.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(dirname "$here")
scratch=$(mktemp -d)
part=
trap 'rm -rf "$scratch" ${part:+"$part"}' EXIT

say() { printf 'images: %s\n' "$*" >&2; }
fail() {
    printf 'images: ERROR %s\n' "$*" >&2
    exit 1
}

digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1
}

# quietly WHAT REMEDY COMMAND... : run with the output in a log, which is kept when it fails.
quietly() {
    local what=$1 remedy=$2 output=$scratch/log kept=${TMPDIR:-/tmp}/cohortflow-images-$UID.log
    shift 2
    "$@" >"$output" 2>&1 </dev/null && return 0
    cp "$output" "$kept"
    fail "$what: $(cause "$output" "$remedy") (log: $kept)"
}

# Tell a certificate, a proxy or a full disk from any other cause by what the command printed.
cause() {
    case $(<"$1") in
        *CERTIFICATE_VERIFY_FAILED* | *"certificate verify failed"* | *x509:* | *SSLError*)
            echo "the certificate is not trusted: give your site's authority with PIP_CERT=FILE" ;;
        *"DO NOT MATCH THE HASHES"*)
            echo "a download does not match its checksum: check the mirror or proxy in between" ;;
        *"o space left"* | *"uota exceeded"*)
            echo "the disk is full: free some space, then run again" ;;
        *NewConnectionError* | *ConnectionError* | *ProxyError* | *"onnection refused"* | *"timed out"* | *"name resolution"* | *"Name or service not known"* | *"etwork is unreachable"*)
            echo "the network cannot be reached: set HTTPS_PROXY behind a proxy, or WHEELS where there is none" ;;
        *"No matching distribution"*)
            echo "a wheel of requirements.lock is not there: fill WHEELS again, or leave it out" ;;
        *) echo "$2" ;;
    esac
}
