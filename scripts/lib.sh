# Shared by the scripts beside it; sourced, never run.
# Words for people go to stderr, so that a script's stdout stays data.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"

say() { printf '%s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# True where missing Debian packages may be installed without asking: root, with apt-get.
may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

# apt_install PACKAGE...: the newest the machine's own sources offer. Tells what it does; apt's own words only where it fails.
apt_install() {
    local log
    log=$(mktemp)
    say "installing with apt-get: $*"
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"; } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        fail "apt-get could not install: $*"
    fi
    rm -f "$log"
}

# find_python: prints the first interpreter that is really there, is new enough and has its venv module whole.
# A name on the PATH proves nothing (version managers leave stubs), so each is run.
find_python() {
    local name
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}
