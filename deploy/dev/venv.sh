#!/usr/bin/env bash
# Make .venv hold what a lock file says: `venv.sh run` (requirements.lock) or `venv.sh dev` (requirements-dev.lock).
#
# A stamp in .venv holds the hash of all that an installation depends on, so the next call costs one hash and no pip.
# The two locks agree on every version (tests/unit/test_project.py), so that an installed `dev` is also a `run`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$(pwd -P)
profile=${1:?usage: venv.sh run|dev}

case $profile in
    run) lock=requirements.lock ;;
    dev) lock=requirements-dev.lock ;;
    *) echo "venv.sh: unknown profile '$profile', expected run or dev" >&2; exit 2 ;;
esac

say() { printf '· %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

wanted() { # LOCK: the content that an installation from it depends on
    sha256sum pyproject.toml "$1" deploy/dev/venv.sh | sha256sum | cut -d ' ' -f 1
}

is_current() {
    [ ! -e .venv/.unfinished ] && [ -x .venv/bin/hub ] && is_ours &&
        [ "$(cat ".venv/.installed-$profile" 2>/dev/null)" = "$(wanted "$lock")" ]
}

is_ours() { # a copied or renamed checkout has a .venv whose scripts still point to the old place
    grep -qsF "$root/.venv/bin/python" .venv/bin/pip && .venv/bin/python -c '' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer was not found (on Debian: apt-get install python3 python3-venv; or set PYTHON)"
}

quietly() { # run a command, and show what it said only if it failed
    "$@" >.venv/.install.log 2>&1 && return
    cat .venv/.install.log >&2
    fail "this command failed: $*"
}

create() {
    local python
    python=$(find_python)
    say "creating .venv with $("$python" --version)"
    "$python" -m venv --clear "$root/.venv" >&2 ||
        fail "'$python -m venv' failed; on Debian: apt-get install python3-venv"
}

fetch_uv() { # which installs in a quarter of pip's time; the lock of the tools says which one, and its hashes
    [ -x .venv/bin/uv ] && return
    awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' requirements-dev.lock >.venv/.uv.txt
    quietly .venv/bin/python -m pip --disable-pip-version-check --no-input --quiet install \
        --require-hashes --requirement .venv/.uv.txt
    rm -f .venv/.uv.txt
}

install() {
    local pip=(deploy/dev/uv.sh pip install --python .venv/bin/python)
    local started=$SECONDS
    # An installation that was cut off may have left half a package that pip takes for a whole one: start afresh then.
    if [ -e .venv/.unfinished ] || ! is_ours; then create; fi
    rm -f .venv/.installed-*
    touch .venv/.unfinished
    say "installing $lock ($(grep -c '^[A-Za-z0-9].*==' "$lock") packages)"
    fetch_uv
    quietly "${pip[@]}" --compile-bytecode --require-hashes --requirement "$lock"
    quietly "${pip[@]}" --no-deps --no-build-isolation --editable .
    [ "$profile" = run ] || wanted requirements.lock >.venv/.installed-run
    wanted "$lock" >".venv/.installed-$profile"
    rm -f .venv/.unfinished .venv/.install.log
    say "installed in $((SECONDS - started)) s"
}

is_current && exit
# Two commands started side by side (make run, make test) must not install into each other.
if command -v flock >/dev/null; then
    exec 9>.venv.lock
    flock 9
fi
is_current || install
