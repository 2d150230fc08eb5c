#!/usr/bin/env bash
# Change the code in small ways, one after the other, and see whether its tests notice (docs/mutants.md).
#
#   mutants.sh             every part below
#   mutants.sh PART…       these parts, such as patterns or verdicts
#
# Of a file with more changes than its part allows (HUB_TEST_CHANGES for any other number, 0 for all) a sample is drawn by
# HUB_TEST_SEED.
# Works on a copy of the tree, so that nothing here is touched. What survives is printed at the end, with its change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# part | changes to each file at most | files that are changed | tests that must notice
# SQLite is enough: it is the same code on both.
PARTS='
money | 150 | hub/money.py | tests/unit/ledger/test_money.py
model | 150 | hub/ledger/model.py hub/ledger/pending.py hub/ledger/errors.py | tests/unit/ledger
holds | 40 | hub/ledger/holds.py | tests/integration/ledger/test_ledger_holds.py tests/integration/ledger/test_ledger_laws.py
book | 40 | hub/ledger/book.py hub/ledger/history.py hub/ledger/account_rows.py hub/ledger/entry_rows.py hub/ledger/hold_rows.py hub/ledger/read.py hub/ledger/verify.py | tests/integration/ledger
patterns | 250 | hub/routing/patterns.py | tests/unit/routing/test_routing_patterns.py
extract | 150 | hub/routing/extract.py hub/routing/sameness.py | tests/unit/routing/test_routing_extract.py
router | 60 | hub/routing/conditions.py hub/routing/router.py hub/routing/reader.py | tests/unit/routing
outcome | 50 | hub/calls/outcome.py hub/calls/naming.py | tests/unit/calls
record | 60 | hub/calls/record.py | tests/integration/deliver/test_calls.py tests/integration/deliver/test_calls_on_record.py tests/integration/deliver/test_looks.py
verdicts | 120 | hub/outbox/verdicts.py | tests/unit/outbox/test_verdicts.py
outbox | 40 | hub/outbox/marks.py hub/outbox/picker.py hub/outbox/relay.py hub/outbox/parked.py hub/outbox/throttle.py | tests/unit/outbox tests/integration/outbox
'
SEED=${HUB_TEST_SEED:-1}
CHILDREN=${HUB_TEST_WORKERS:-4} # half of the time they wait

root=$PWD
copy=$(mktemp -d -t hub_mutants_XXXXXX)
trap 'rm -rf "$copy"' EXIT
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -cf - -T - 2>/dev/null | tar -xf - -C "$copy"
ln -sfn "$root/.venv" "$copy/.venv"
cp "$copy/pyproject.toml" "$copy/pyproject.own"
# One database is enough, and no server is asked.
unset HUB_TEST_POSTGRES_URL HUB_TEST_RABBITMQ_URL
export HUB_TEST_SQLITE_TEMPLATE=$copy/template.db
# Each change is a run of pytest: half of the plugins are of no use here, and one takes longer than most tests.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
plugins=(pytest_asyncio.plugin pytest_timeout _hypothesis_pytestplugin tests.mutants.quick no:cacheprovider)

one_part() { # NAME MOST FILES TESTS
    local name=$1 most=${HUB_TEST_CHANGES:-$2} files=$3 tests=$4 drawn=()
    printf '\n== %s: %s\n' "$name" "$files"
    quoted() { printf '"%s", ' "$@"; }
    cp "$copy/pyproject.own" "$copy/pyproject.toml"
    # shellcheck disable=SC2086
    cat >>"$copy/pyproject.toml" <<END

[tool.mutmut]
source_paths = ["hub"]
# Fifteen times this is how long a change may take that makes nothing slower.
timeout_constant = 4.0
only_mutate = [$(quoted $files)]
also_copy = ["handlers", "schemas", "routing.yaml", "benchmarks", "docs", "deploy"]
pytest_add_cli_args_test_selection = [$(quoted $tests)]
pytest_add_cli_args = ["-q", "-k", "not postgresql", $(printf '"-p", "%s", ' "${plugins[@]}") "--timeout=60"]
END
    (
        cd "$copy"
        rm -rf mutants
        # shellcheck disable=SC2086
        [ "$most" = 0 ] || mapfile -t drawn < <(.venv/bin/python deploy/dev/sample.py "$SEED" "$most" $files)
        .venv/bin/mutmut run --max-children "$CHILDREN" "${drawn[@]}" >mutmut.log 2>&1 || tail -5 mutmut.log
        .venv/bin/python deploy/dev/survivors.py "$name"
    )
}

wanted=" $* "
while IFS='|' read -r name most files tests; do
    name=$(echo "$name" | xargs)
    [ -n "$name" ] || continue
    if [ $# -eq 0 ] || [[ $wanted == *" $name "* ]]; then
        one_part "$name" "$(echo "$most" | xargs)" "$(echo "$files" | xargs)" "$(echo "$tests" | xargs)" </dev/null
    fi
done <<<"$PARTS"
