#!/usr/bin/env bash
# Resolve pyproject.toml into the two lock files: exact versions with hashes, and no address.
#
# Versions already locked stay where they still fit; `make lock ARGS=--upgrade` raises them all, and
# `make lock ARGS='--upgrade-package aiohttp'` raises one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

compile() { # OUTPUT, then what is particular to it
    local output=$1
    shift
    printf '· resolving %s\n' "$output" >&2
    # shellcheck disable=SC2086 # ARGS is a list of words
    deploy/dev/uv.sh pip compile pyproject.toml --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links --output-file "$output" ${ARGS:-} "$@" >/dev/null
}

compile requirements-dev.lock --extra dev
# The second follows the first, so that what is tested is what runs.
compile requirements.lock --constraint requirements-dev.lock
