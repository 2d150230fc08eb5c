"""The table of goals: what it computes from given figures, and what it says where there are none."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from benchmarks.figures import Figure
from benchmarks.goals import GOALS, Medians, Verdict, verdicts
from benchmarks.report import goal_table


def runs(name: str, *rates: float, **values: float) -> dict[str, list[Figure]]:
    """Repeats of one contestant at these rates."""
    own = {key: values.pop(key) for key in ("worker_cpu_s", "database_cpu_s", "peak_mb") if key in values}
    return {name: [Figure(contestant=name, events=100, per_s=rate, values=values, **own) for rate in rates]}


def verdict_on(text: str, figures: dict[str, list[Figure]]) -> Verdict:
    [found] = [verdict for verdict in verdicts(figures) if verdict.goal.text == text]
    return found


def test_the_ratio_is_that_of_the_medians() -> None:
    figures = runs("hub", 1_000, 3_000, 9_000) | runs("naive", 100, 200, 600)

    found = verdict_on("queue to queue, times naive", figures)

    assert found.measured == 15
    assert found.holds is True
    assert found.is_as_wanted is False
    assert found.share_of_want == 15 / 25


def test_just_below_the_first_number_does_not_hold() -> None:
    found = verdict_on("queue to queue, times naive", runs("hub", 2_999) | runs("naive", 200))

    assert found.holds is False


def test_a_ceiling_holds_at_and_below_its_number() -> None:
    naive = runs("naive at 40/s", 40, p50_ms=10.0, p99_ms=100.0)

    at = verdict_on("p50 at 40/s, of naive", naive | runs("hub at 40/s", 40, p50_ms=6.0, p99_ms=60.0))
    above = verdict_on("p50 at 40/s, of naive", naive | runs("hub at 40/s", 40, p50_ms=6.1, p99_ms=60.0))
    below = verdict_on("p50 at 40/s, of naive", naive | runs("hub at 40/s", 40, p50_ms=3.0, p99_ms=60.0))

    assert (at.holds, at.is_as_wanted) == (True, False)
    assert at.share_of_want == pytest.approx(0.75)
    assert above.holds is False
    assert (below.holds, below.is_as_wanted) == (True, True)


def test_processor_time_counts_worker_database_and_broker() -> None:
    naive = Figure(contestant="naive", events=1, worker_cpu_s=5.0, database_cpu_s=0.7, broker_cpu_s=0.6)
    hub = Figure(contestant="hub", events=1, worker_cpu_s=0.25, database_cpu_s=0.2, broker_cpu_s=0.075)
    figures = {"naive": [naive], "hub": [hub]}

    assert verdict_on("CPU in all, times less than naive", figures).measured == pytest.approx(12)
    assert verdict_on("CPU of the worker, times less", figures).measured == pytest.approx(20)


def test_the_share_of_routing_is_of_the_worker_s_own_time() -> None:
    # 0.2 CPU seconds per 1,000 events are 200 microseconds per event.
    figures = runs("rules 1000", 5_000, worker_cpu_s=0.2, route_us=4.0)

    found = verdict_on("routing's share of the worker's CPU", figures)

    assert found.measured == pytest.approx(0.02)
    assert found.holds is True


def test_one_deadlock_in_any_repeat_is_too_many() -> None:
    figures = {"backlog x2": [*runs("x", 1, deadlocks=0.0)["x"], *runs("x", 1, deadlocks=1.0)["x"]]}

    assert verdict_on("deadlocks in 100,000 events", figures).holds is False


def test_what_was_not_run_has_no_verdict() -> None:
    found = verdicts({})

    assert len(found) == len(GOALS)
    assert {(one.measured, one.holds, one.share_of_want) for one in found} == {(None, None, None)}


def test_all_twelve_goals_are_there() -> None:
    assert {goal.number for goal in GOALS} == set(range(1, 13))


def test_the_spread_is_the_largest_over_the_smallest() -> None:
    assert Medians(runs("naive", 200, 260, 250)).spread("naive") == pytest.approx(1.3)


def test_the_table_says_what_holds_and_how_far_the_wish_is() -> None:
    figures = runs("hub", 4_000) | runs("naive", 200) | runs("sql alone", 20_000)
    console = Console(width=150, file=io.StringIO(), record=True)

    console.print(goal_table(verdicts(figures)))

    lines = [line.split() for line in console.export_text().splitlines()]
    [times] = [line for line in lines if line[:6] == ["1.", "queue", "to", "queue,", "times", "naive"]]
    [share] = [line for line in lines if line[:5] == ["1.", "queue", "to", "queue,", "share"]]
    assert times[6:] == ["20", "≥", "15", "holds", "≥", "25", "80%"]
    assert share[-9:] == ["0.2", "≥", "0.22", "DOES", "NOT", "HOLD", "≥", "0.38", "53%"]
    assert sum("not measured" in " ".join(line) for line in lines) == len(GOALS) - 2
