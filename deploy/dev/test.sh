#!/usr/bin/env bash
# Run the checks one after the other under headings; all run, and the exit code and the summary say what failed.
#
#   test.sh          everything that must pass before a change lands
#   test.sh faults   every place to crash at, the long storms, 1,000 simulated runs, all planted bugs; one summary
#   test.sh mutants  small changes to the code, and which of them no test notices; HUB_TEST_PARTS chooses parts
#   test.sh soak     10,000 simulated runs, HUB_SOAK_SEEDS=FIRST-LAST chooses others; then HUB_SOAK_EVENTS through one hub
#   test.sh fuzz     10,000 examples over the HTTP APIs, as many over the console and a webhook; HUB_TEST_FUZZ_EXAMPLES
#   test.sh bench    the benchmarks; HUB_BENCH_ARGS are passed on, such as --quick
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

SEED=${HUB_TEST_SEED:-1} # of the order of the tests and of what hypothesis and the sample of faults draw
WORKERS=${HUB_TEST_WORKERS:-4} # on two cores: some tests are always waiting for a disk or a broker
CRASH_WORKERS=${HUB_TEST_CRASH_WORKERS:-4} # half of a trial is waiting for a disk or a process
COUNTS=$PWD/build/faults # what each part of the faults has done, for their summary
STORMS=(tests/faults/test_storms.py tests/faults/test_stopped_process.py tests/faults/test_paypay_exchanges.py
    tests/faults/kills)

failed=()
summary=()
alone=$(mktemp) # the tests that passed only when nothing ran beside them
types=$(mktemp) # what mypy says
storms_said=$(mktemp)
storms_alone=$(mktemp)
trap clean_up EXIT

clean_up() {
    rm -f "$alone" "$types" "$storms_said" "$storms_alone"
    [ -z "${mypy:-}" ] || kill "$mypy" 2>/dev/null
    [ -z "${storms:-}" ] || kill -- "-$storms" 2>/dev/null
}

section() { # HEADING COMMAND…
    local heading=$1 started=$SECONDS verdict=ok name
    shift
    printf '\n== %s\n' "$heading"
    : >"$alone"
    if ! "$@"; then
        verdict=FAILED
        failed+=("$heading")
    fi
    summary+=("$(printf '%-6s %4d s  %s' "$verdict" "$((SECONDS - started))" "$heading")")
    while IFS= read -r name; do summary+=("                !! passed alone: $name"); done <"$alone"
}

finish() {
    printf '\n== summary\n'
    printf '%s\n' "${summary[@]}"
    [ ${#failed[@]} -eq 0 ] && exit 0
    printf '\n%d of %d failed, first: %s\n' "${#failed[@]}" "${#summary[@]}" "${failed[0]}"
    exit 1
}

forget_the_callers_hub() { # a test must never reach the database of a hub that the caller's shell is set up for
    local name
    for name in "${!HUB_@}"; do
        case $name in HUB_TEST_* | HUB_FAULTS | HUB_BENCH_* | HUB_SOAK_*) ;; *) unset "$name" ;; esac
    done
}

start_servers() { # and export where they answer; a test skips what has no address and fails where one is given
    local addresses line
    printf '== servers\n'
    addresses=$(deploy/dev/servers.sh) || exit 1
    while IFS= read -r line; do export "${line?}"; done <<<"$addresses"
}

tests() { # WORKERS PYTEST-ARGUMENT…; without the plugins that nobody needs, which take seconds to load in each process
    local workers=$1
    shift
    .venv/bin/python deploy/dev/again.py --workers "$workers" --report "$alone" \
        -q -p no:schemathesis -p no:anyio -p randomly --randomly-seed="$SEED" "$@"
}

long_tests() { # as tests(); one of these may be silent for longer than any other may, and none waits in a row behind it
    local spread=()
    [ "$1" = 1 ] || spread=(--dist worksteal)
    tests "$@" -o faulthandler_timeout=0 "${spread[@]}"
}

counted() { # NAME COMMAND…; what the command has done is written down in a folder of that name
    mkdir -p "$COUNTS/$1"
    HUB_TEST_COUNTS=$COUNTS/$1 "${@:2}"
}

start_storms() { # beside all else: half of their time they wait for what they have broken
    set -m # a group of its own, so that all of it can be ended
    (alone=$storms_alone && counted storms long_tests 2 "${STORMS[@]}") >"$storms_said" 2>&1 &
    storms=$!
    set +m
}

told_by_storms() {
    local code=0
    wait "$storms" || code=$?
    storms=
    cat "$storms_said"
    cp "$storms_alone" "$alone"
    return "$code"
}

start_mypy() { # beside all else: it uses one core for more than a minute
    .venv/bin/mypy --no-error-summary >"$types" 2>&1 &
    mypy=$!
}

told_by_mypy() {
    local code=0
    wait "$mypy" || code=$?
    mypy=
    cat "$types"
    return "$code"
}

forget_the_callers_hub
# Where it is set, as in many images, each of the many processes here compiles everything anew: 17 s instead of 9 s for
# each that collects the tests, and a second for each hub.
unset PYTHONDONTWRITEBYTECODE
[ "${1:-all}" != all ] || start_mypy
start_servers
case ${1:-all} in
    all)
        section 'ruff check' .venv/bin/ruff check --quiet .
        section 'ruff format' .venv/bin/ruff format --quiet --check .
        section 'import contracts' .venv/bin/lint-imports --no-logo
        section 'routing rules' .venv/bin/hub routes test
        export HUB_FAULTS=${HUB_FAULTS:-sample}
        section 'tests' tests "$WORKERS" --dist loadfile --no-loadscope-reorder tests --ignore=tests/faults
        section 'mypy --strict' told_by_mypy
        # By themselves: a hub that is left behind by what is killed too late would be in the way of others.
        section 'faults, a sample' tests "$CRASH_WORKERS" -o faulthandler_timeout=2400 tests/faults
        ;;
    faults)
        export HUB_FAULTS=all HUB_TEST_SEED=$SEED
        rm -rf "$COUNTS"
        start_storms
        section 'crash points' counted crash-points long_tests 8 tests/faults "${STORMS[@]/#/--ignore=}"
        section 'simulation' counted simulation long_tests 2 tests/simulation
        section 'planted bugs' counted mutants long_tests 1 -s tests/mutants
        section 'storms, beside all of these' told_by_storms
        section 'all faults' .venv/bin/python -m tests.faults.summary "$COUNTS"
        ;;
    mutants)
        # shellcheck disable=SC2086
        section 'mutation run' deploy/dev/mutants.sh ${HUB_TEST_PARTS:-} ;;
    soak)
        section 'simulation' .venv/bin/python -m tests.simulation --seeds "${HUB_SOAK_SEEDS:-1-10000}" --jobs 2
        section 'one hub, fed and pruned' .venv/bin/python -m tests.soak
        ;;
    fuzz)
        export HUB_TEST_FUZZ_EXAMPLES=${HUB_TEST_FUZZ_EXAMPLES:-10000}
        section 'HTTP, fuzzed' tests 1 -s -o faulthandler_timeout=0 tests/hostile/http/test_*_fuzz.py
        ;;
    bench) # HUB_BENCH_ARGS, such as --quick, is split into words on purpose
        # shellcheck disable=SC2086
        section 'benchmarks' .venv/bin/python -m benchmarks --save ${HUB_BENCH_ARGS:-} ;;
    *) echo "test.sh: unknown part '$1', expected faults, mutants, soak, fuzz or bench" >&2; exit 2 ;;
esac
finish
