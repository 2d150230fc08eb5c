"""Taking turns: in which order contestants run, what a failed run costs, and when a scenario is run again."""

from __future__ import annotations

import asyncpg
import pytest

from benchmarks.figures import Figure
from benchmarks.plan import QUICK
from benchmarks.turns import ATTEMPTS_MAX, Bench, Results, Run


@pytest.fixture
def bench() -> Bench:
    return Bench(plan=QUICK, results=Results(), say=lambda _: None)


def contestant(name: str, calls: list[str], *rates: float) -> Run:
    """Runs at these rates, one after the other, and notes that it was called."""
    given = iter(rates)

    async def run() -> Figure:
        calls.append(name)
        return Figure(contestant=name, events=1, per_s=next(given))

    return run


async def test_contestants_take_turns(bench: Bench) -> None:
    calls: list[str] = []
    contestants = {name: contestant(name, calls, 1, 2, 3) for name in ("hub", "naive")}

    await bench.take_turns("queue", contestants, repeats=3)

    assert calls == ["hub", "naive"] * 3
    assert [figure.per_s for figure in bench.results.figures["hub"]] == [1, 2, 3]
    assert bench.results.scenario_of == {"hub": "queue", "naive": "queue"}


async def test_a_run_that_fails_is_told_and_the_others_keep_their_figures(bench: Bench) -> None:
    async def wrong() -> Figure:
        raise RuntimeError("the run was wrong")

    await bench.take_turns("queue", {"hub": wrong, "naive": contestant("naive", [], 1)}, repeats=1)

    assert bench.results.failures == ["queue: hub, 1: RuntimeError: the run was wrong"]
    assert list(bench.results.figures) == ["naive"]


async def test_what_the_role_may_not_do_is_left_out_with_a_remark(bench: Bench) -> None:
    async def refused() -> Figure:
        raise asyncpg.InsufficientPrivilegeError("permission denied to set parameter")

    await bench.take_turns("trouble", {"slow disk": refused}, repeats=1)

    assert bench.results.failures == []
    assert len(bench.results.remarks) == 1


async def test_a_steady_baseline_is_measured_once(bench: Bench) -> None:
    calls: list[str] = []

    await bench.take_turns("queue", {"naive": contestant("naive", calls, 100, 130)}, baseline="naive", repeats=2)

    assert len(calls) == 2
    assert bench.results.remarks == []


async def test_an_unsteady_baseline_makes_everything_run_again_and_only_the_last_counts(bench: Bench) -> None:
    naive, hub = contestant("naive", [], 100, 131, 100, 101), contestant("hub", [], 1, 2, 3, 4)

    await bench.take_turns("queue", {"naive": naive, "hub": hub}, baseline="naive", repeats=2)

    assert [figure.per_s for figure in bench.results.figures["hub"]] == [3, 4]
    assert bench.results.remarks == ["queue: naive varied by 1.31 between repeats; run again"]


async def test_a_machine_that_never_comes_to_rest_is_told_of(bench: Bench) -> None:
    calls: list[str] = []

    await bench.take_turns("queue", {"naive": contestant("naive", calls, *[1, 2] * 9)}, baseline="naive", repeats=2)

    assert len(calls) == 2 * ATTEMPTS_MAX
    assert bench.results.remarks[-1].endswith("kept all the same: trust no ratio of it")
