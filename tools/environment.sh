# Virtual environments for run.sh and run_tests.sh, which source this file.

# The Pythons that the whole test suite runs on (--pythons). pyproject.toml, the doctor and the README
# name the same ones.
supported_pythons=(3.13 3.12 3.11)

fail() {
    printf 'taskflow: %s\n' "$1" >&2
    exit 1
}

# is_python VERSION COMMAND: true if the command runs that version, with what a virtual environment needs.
is_python() {
    "$2" -c "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>/dev/null
}

# first_python VERSION COMMAND...: prints the first of the commands that runs the version.
first_python() {
    local version=$1 python
    for python in "${@:2}"; do
        if is_python "$version" "$python"; then
            printf '%s' "$python"
            return
        fi
    done
    return 1
}

python_in_path() {
    first_python "$1" "python$1" python3 python
}

# find_python VERSION: prints a command that runs it, from the PATH or from where pyenv and uv install.
find_python() {
    python_in_path "$1" || first_python "$1" /usr/local/bin/"python$1" /usr/bin/"python$1" \
        "${PYENV_ROOT:-${HOME-}/.pyenv}"/versions/"$1".*/bin/python \
        "${UV_PYTHON_INSTALL_DIR:-${HOME-}/.local/share/uv/python}"/cpython-"$1".*/bin/python
}

# default_python: prints the newest supported Python in the PATH, else the newest of this machine.
default_python() {
    local search version
    for search in python_in_path find_python; do
        for version in "${supported_pythons[@]}"; do
            "$search" "$version" && return
        done
    done
    fail "needs Python ${supported_pythons[-1]} to ${supported_pythons[0]} with venv (Debian: apt-get install python3-venv)"
}

# The stamp is written last, so an interrupted installation has none.
is_ready() {
    [[ -x $1/bin/python && -f $1/stamp && $(<"$1/stamp") == "$(cksum <"$2")" ]]
}

install_environment() {
    local command
    "$3" -m venv --clear "$1" && printf '*\n' >"$1/.gitignore" || return
    "${4:-true}" &
    command=$!
    install_packages "$1" "$2" && wait "$command" && cksum <"$2" >"$1/stamp"
}

# install_packages VENV LOCK: with uv, in a tenth of the time, where the lock contains it or the
# machine has it; else, or if that fails, with pip.
install_packages() {
    local uv options=(--quiet --no-deps --require-hashes)
    local pip=("$1/bin/python" -m pip install --no-input --disable-pip-version-check "${options[@]}")
    if grep -q '^uv==' "$2"; then
        "${pip[@]}" -r <(sed -n '/^uv==/,/[^\\]$/p' "$2") || true
    fi
    if uv=$(find_uv "$1") &&
        "$uv" pip install --python "$1/bin/python" --compile-bytecode "${options[@]}" -r "$2"; then
        return
    fi
    "${pip[@]}" -r "$2"
}

find_uv() {
    local uv
    for uv in "$1/bin/uv" .venv-dev/bin/uv uv; do
        command -v "$uv" && return
    done
    return 1
}

# set_up_environment VENV LOCK [PYTHON [COMMAND]]: makes the virtual environment VENV with the packages
# of LOCK, unless it is there; COMMAND runs while they are installed.
set_up_environment() {
    local python output
    is_ready "$1" "$2" && return
    # Simultaneous first starts take turns where flock exists; the folder is the lock.
    exec 9<.
    if command -v flock >/dev/null; then flock 9; fi
    if ! is_ready "$1" "$2"; then
        python=${3:-$(default_python)} || exit 1
        printf 'taskflow: setting up %s with %s\n' "$1" "$("$python" --version)" >&2
        output=$(install_environment "$1" "$2" "$python" "${4:-}" 2>&1) || fail "could not set up $1: $output"
    fi
    exec 9<&-
}
