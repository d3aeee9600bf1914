#!/usr/bin/env bash
# Everything that must pass, in an environment of its own, .venv-dev:
#   ./run_tests.sh               format, lint, types, tests, and the smoke
#   ./run_tests.sh -k name ...   only pytest, with these arguments
#   ./run_tests.sh --chaos ...   the chaos suite in its long form: minutes of load a scenario
#                                (--chaos-seed N, --chaos-rate TASKS_A_SECOND, --chaos-seconds S)
#   ./run_tests.sh --fuzz ...    fuzzes the API by its own document for minutes on each store
#                                (--fuzz-examples N, --fuzz-seed N)
#   ./run_tests.sh --smoke URL   only the smoke's six requests, sent to a server that runs
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

venv=.venv-dev
lock=requirements-dev.lock

fail() {
    printf 'taskflow: %s\n' "$1" >&2
    exit 1
}

# The stamp is written last: an installation that was interrupted has none.
is_ready() {
    [[ -x $venv/bin/python && -f $venv/stamp && $(<"$venv/stamp") == "$(cksum <"$lock")" ]]
}

find_python() {
    local python
    for python in python3.13 python3.12 python3.11 python3.14 python3 python; do
        if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$python"
            return
        fi
    done
    fail 'needs Python 3.11 or newer with venv (Debian: apt-get install python3-venv)'
}

# Tools for a few tests (a pooler, a clock, a proxy, promtool), unpacked without being installed: no
# root is needed. Where that cannot be done these tests are skipped, and say so. Libraries have
# other names elsewhere.
unpack_tools() {
    local apt=$PWD/$venv/apt package
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 0
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$venv/debian"
    apt_get() { apt-get -qq -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt" "$@"; }
    apt_get update || return 0
    for package in pgbouncer libevent-2.1-7{,t64} libc-ares2{,t64} libfaketime nginx libpcre2-8-0 \
        prometheus; do
        (cd "$apt" && apt_get download "$package") || continue
    done
    for package in "$apt"/*.deb; do dpkg-deb -x "$package" "$venv/debian" || return 0; done
    rm -r "$apt"
}

# A real browser for the tests of the dashboard: of too many parts to be unpacked here, so it is
# installed where that may be done.
have_browser() {
    command -v chromium >/dev/null && return 0
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        printf 'taskflow: installing chromium\n' >&2
        DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null 2>&1 || true
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium \
            >/dev/null 2>&1 && return 0
    fi
    printf 'taskflow: no chromium, and it cannot be installed: tests of the dashboard are skipped\n' >&2
}

install() {
    "$1" -m venv --clear "$venv" &&
        printf '*\n' >"$venv/.gitignore" &&
        "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
            --no-deps --require-hashes -r "$lock" &&
        unpack_tools &&
        cksum <"$lock" >"$venv/stamp"
}

if ! is_ready; then
    # Two first starts at once take turns, where there is a flock; the folder is the lock.
    exec 9<.
    if command -v flock >/dev/null; then flock 9; fi
    if ! is_ready; then
        python=$(find_python)
        printf 'taskflow: setting up %s with %s\n' "$venv" "$("$python" --version)" >&2
        output=$(install "$python" 2>&1) || fail "could not set up $venv: $output"
    fi
    exec 9<&-
fi

step() {
    printf '\n== %s\n' "$*"
    "$venv/bin/python" "$@"
}

case ${1-} in
'')
    step -m ruff format --check .
    step -m ruff check .
    step -m mypy
    have_browser
    step -m pytest -m 'not alone' --numprocesses 2 --dist loadfile --no-loadscope-reorder
    step -m pytest -m alone
    step tests/smoke.py
    ;;
--chaos)
    exec "$venv/bin/python" -m pytest tests/chaos -s "$@"
    ;;
--fuzz)
    exec "$venv/bin/python" -m pytest tests/fuzz -s "$@"
    ;;
--smoke)
    exec "$venv/bin/python" tests/smoke.py "${2:?run_tests.sh: --smoke needs the URL of a server}"
    ;;
*)
    exec "$venv/bin/python" -m pytest "$@"
    ;;
esac
