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

# One build at a time: who waited finds what the other made. Engines are started without the lock,
# since what they leave running would hold it.
take_turn() {
    command -v flock >/dev/null || return 0
    exec 9>"${TMPDIR:-/tmp}/cohortflow-images-$UID.lock"
    flock 9
}

# quietly WHAT REMEDY COMMAND... : run with the output in a log, which is kept when it fails.
quietly() {
    local what=$1 remedy=$2 log
    shift 2
    log=$(mktemp "${TMPDIR:-/tmp}/cohortflow-images.XXXXXX.log")
    "$@" >"$log" 2>&1 </dev/null 9>&- || fail "$what: $(cause "$log" "$remedy") (log: $log)"
    rm "$log"
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
        *NewConnectionError* | *ConnectionError* | *ProxyError* | *"onnection refused"* | *"timed out"* | *"name resolution"* | *"Name or service not known"* | *"no such host"* | *"etwork is unreachable"*)
            echo "the network cannot be reached: behind a proxy set HTTPS_PROXY, without a network see docs/containers.md" ;;
        *"No matching distribution"*)
            echo "a wheel of requirements.lock is not there: fill WHEELS again, or leave it out" ;;
        *) echo "$2" ;;
    esac
}
