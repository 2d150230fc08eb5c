#!/usr/bin/env bash
# Change the code in small ways, one after the other, and see whether its tests notice (docs/mutants.md).
#
#   mutants.sh             every part below
#   mutants.sh PART…       these parts, such as patterns or verdicts
#
# Works on a copy of the tree, so that nothing here is touched. What survives is printed at the end, with its change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# part | files that are changed | tests that must notice (SQLite is enough: it is the same code on both)
PARTS='
patterns | hub/routing/patterns.py | tests/unit/routing/test_routing_patterns.py
sameness | hub/routing/sameness.py | tests/unit/routing/test_routing_extract.py
model | hub/ledger/model.py | tests/unit/ledger/test_model.py tests/unit/ledger/test_money.py
holds | hub/ledger/holds.py | tests/integration/ledger/test_ledger_holds.py
outcome | hub/calls/outcome.py | tests/unit/calls
record | hub/calls/record.py | tests/integration/deliver/test_calls.py tests/integration/deliver/test_call_laws.py
verdicts | hub/outbox/verdicts.py | tests/integration/outbox/test_relay.py
'
CHILDREN=${HUB_TEST_WORKERS:-2}

root=$PWD
copy=$(mktemp -d -t hub_mutants_XXXXXX)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -cf - -T - 2>/dev/null | tar -xf - -C "$copy"
ln -s "$root/.venv" "$copy/.venv"
cp "$copy/pyproject.toml" "$copy/pyproject.own"
# One database is enough, and no server is asked.
unset HUB_TEST_POSTGRES_URL HUB_TEST_RABBITMQ_URL

one_part() { # NAME FILES TESTS
    local name=$1 files=$2 tests=$3 folder quoted
    printf '\n== %s: %s\n' "$name" "$files"
    quoted() { printf '"%s", ' "$@"; }
    cp "$copy/pyproject.own" "$copy/pyproject.toml"
    # shellcheck disable=SC2086
    cat >>"$copy/pyproject.toml" <<END

[tool.mutmut]
source_paths = ["hub"]
only_mutate = [$(quoted $files)]
also_copy = ["handlers", "schemas", "routing.yaml", "benchmarks", "docs", "deploy"]
pytest_add_cli_args_test_selection = [$(quoted $tests)]
pytest_add_cli_args = ["-q", "-k", "not postgresql", "-p", "no:randomly", "-p", "no:cacheprovider", "--timeout=60"]
END
    (
        cd "$copy"
        rm -rf mutants
        .venv/bin/mutmut run --max-children "$CHILDREN" >mutmut.log 2>&1 || tail -5 mutmut.log
        .venv/bin/python deploy/dev/survivors.py "$name"
    )
}

wanted=" $* "
while IFS='|' read -r name files tests; do
    name=$(echo "$name" | xargs)
    [ -n "$name" ] || continue
    if [ $# -eq 0 ] || [[ $wanted == *" $name "* ]]; then
        one_part "$name" "$(echo "$files" | xargs)" "$(echo "$tests" | xargs)" </dev/null
    fi
done <<<"$PARTS"
