#!/usr/bin/env bash
# Everything that must pass, in an environment of its own, .venv-dev:
#   ./run_tests.sh               format, lint, types, tests, and the smoke
#   ./run_tests.sh --fast        format, lint, types, and the tests that need no database and no
#                                process: before each commit
#   ./run_tests.sh -k name ...   only pytest, with these arguments
#   ./run_tests.sh --pythons ... the same tests on each supported Python that this machine has
#   ./run_tests.sh --chaos ...   the chaos suite and the failovers in their long form: minutes of load
#                                a scenario, and Patroni with its default timings
#                                (--chaos-seed N, --chaos-rate TASKS_A_SECOND, --chaos-seconds S)
#   ./run_tests.sh --failover .. all failovers, with timings of seconds
#   ./run_tests.sh --fuzz ...    the random tests in their long form: the API by its own document for
#                                minutes on each store (--fuzz-examples N, --fuzz-seed N),
#                                sequences of calls to the stores, messages in HTTP/1.1, and large
#                                values of each field; and the API, the clients and the command
#                                line on both stores; for a scheduled job
#   ./run_tests.sh --smoke URL   only the smoke's six requests, sent to a server that runs
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

. tools/environment.sh

venv=.venv-dev
lock=requirements-dev.lock
# Hundreds of processes are started: each would compile TaskFlow anew.
export PYTHONDONTWRITEBYTECODE=

# Tests of one file share servers, so they run in one process. Many of them wait, rather than compute:
# more processes than cores.
at_once=(--numprocesses 5 --dist loadfile --no-loadscope-reorder)

# Tools for a few tests (a pooler, a clock, a proxy, promtool, etcd), unpacked without being installed: no
# root is needed. Where that cannot be done these tests are skipped, and say so. Libraries have
# other names elsewhere.
unpack_tools() {
    local apt=$PWD/$venv/apt package
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 0
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$venv/debian"
    apt_get() { apt-get -qq -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt" "$@"; }
    apt_get update || return 0
    for package in pgbouncer libevent-2.1-7{,t64} libc-ares2{,t64} libfaketime nginx libpcre2-8-0 \
        prometheus etcd-server; do
        (cd "$apt" && apt_get download "$package") || continue
    done
    for package in "$apt"/*.deb; do dpkg-deb -x "$package" "$venv/debian" || return 0; done
    rm -r "$apt"
}

# A real browser for the tests of the dashboard: of too many parts to be unpacked here, so it is
# installed where that may be done.
have_browser() {
    command -v chromium-headless-shell >/dev/null && return 0
    if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        printf 'taskflow: installing chromium-headless-shell\n' >&2
        DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null 2>&1 || true
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
            chromium-headless-shell >/dev/null 2>&1 && return 0
    fi
    command -v chromium >/dev/null && return 0
    printf 'taskflow: no chromium, and it cannot be installed: tests of the dashboard are skipped\n' >&2
}

# The start of the service on each other supported Python of this machine: POST, COMPLETED, SIGTERM.
check_other_pythons() {
    local version python
    for version in "${supported_pythons[@]}"; do
        is_python "$version" "$venv/bin/python" && continue
        if ! python=$(find_python "$version"); then
            printf '\n== Python %s: not on this machine, not checked\n' "$version"
            continue
        fi
        set_up_environment ".venv-$version" requirements.lock "$python"
        step tests/smoke.py --start ".venv-$version/bin/python"
    done
}

# The whole suite on each supported Python of this machine.
test_all_pythons() {
    local version python failed=() tested=() missing=()
    for version in "${supported_pythons[@]}"; do
        if ! python=$(find_python "$version"); then
            missing+=("$version")
            continue
        fi
        venv=.venv-dev
        if ! is_python "$version" "$venv/bin/python"; then
            venv=.venv-dev-$version
            set_up_environment "$venv" "$lock" "$python" link_tools
        fi
        tested+=("$version")
        run_pytest "$@" || failed+=("$version")
    done
    printf '\ntested on: %s\nnot on this machine: %s\nfailed on: %s\n' \
        "${tested[*]:-none}" "${missing[*]:-none}" "${failed[*]:-none}"
    [[ ${#tested[@]} -gt 0 && ${#failed[@]} -eq 0 ]]
}

link_tools() {
    ln -s ../.venv-dev/debian "$venv/debian"
}

# run_pytest [ARGUMENTS]: all tests, the heavy ones after the others; or pytest with the arguments.
run_pytest() {
    if [[ $# -gt 0 ]]; then
        step -m pytest "$@"
        return
    fi
    test_together && test_heavy
}

test_together() {
    step -m pytest -m 'not heavy' "${at_once[@]}"
}

test_heavy() {
    step -m pytest -m heavy --numprocesses 5 --dist worksteal tests/chaos tests/failover tests/service
}

# The collection compiles the tests, once for all processes of pytest.
check_source() {
    "$venv/bin/python" -m compileall -q taskflow &&
        step -m ruff format --check . &&
        step -m ruff check . &&
        step -m mypy
}

step() {
    printf '\n== %s\n' "$*"
    "$venv/bin/python" "$@"
}

set_up_environment "$venv" "$lock" "" unpack_tools

case ${1-} in
'')
    # Beside the checks, which use one core. The check of the Pythons may last into the first tests.
    output=$(mktemp)
    check_other_pythons >"$output" 2>&1 &
    others=$!
    have_browser &
    browser=$!
    "$venv/bin/python" -m pytest --collect-only --quiet >/dev/null &
    collection=$!
    failed=
    check_source && { wait "$browser" "$collection" || true; } && test_together || failed=1
    wait "$others" || failed=1
    cat "$output"
    rm "$output"
    [[ -z $failed ]]
    test_heavy
    step tests/smoke.py
    ;;
--fast)
    check_source
    step -m pytest --fast "${at_once[@]}" "${@:2}"
    ;;
--pythons)
    have_browser
    test_all_pythons "${@:2}"
    ;;
--chaos)
    exec "$venv/bin/python" -m pytest tests/chaos tests/failover -s "$@"
    ;;
--failover)
    exec "$venv/bin/python" -m pytest tests/failover -s "$@"
    ;;
--fuzz)
    exec "$venv/bin/python" -m pytest tests/fuzz tests/store/test_stateful.py tests/store/test_archive_contract.py \
        tests/http1/test_differences.py tests/api tests/cli tests/client tests/browser/test_every_page.py -s "$@"
    ;;
--smoke)
    exec "$venv/bin/python" tests/smoke.py "${2:?run_tests.sh: --smoke needs the URL of a server}"
    ;;
*)
    exec "$venv/bin/python" -m pytest "$@"
    ;;
esac
