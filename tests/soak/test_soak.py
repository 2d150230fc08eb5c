"""The soak notices what grows; and a thin one over a real hub comes to its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.soak.judging import BOUNDS, judged, slope_of
from tests.soak.measuring import Sample
from tests.soak.run import TOO_FEW, Plan, Soak

EVENTS = 20_000


def run_with(growth: float, *, name: str = "rows of inbox") -> list[Sample]:
    """Samples of a run in which something grows by so much with each event, after it was warm."""
    return [
        Sample(float(n), n * EVENTS // 20, {name: 500.0 + growth * n * EVENTS / 20 + 100 * (n % 3)}) for n in range(21)
    ]


@pytest.mark.parametrize(("growth", "holds"), [(0.0, True), (0.02, True), (1.0, False)])
def test_what_keeps_a_row_for_each_event_is_noticed(growth: float, holds: bool) -> None:
    (line,) = judged(run_with(growth))

    assert line.holds == holds


def test_memory_that_is_kept_of_each_event_is_noticed() -> None:
    (line,) = judged(run_with(0.004, name="rss_mb"))

    assert not line.holds
    assert line.gained > BOUNDS["rss_mb"].slack


def test_what_was_large_from_the_beginning_is_flat() -> None:
    assert slope_of([(float(n), 900.0) for n in range(10)]) == 0.0
    assert judged(run_with(0.0)[:3]) == []


def test_a_run_that_was_hardly_looked_at_does_not_pass(tmp_path: Path) -> None:
    soak = Soak(Plan(events=300, embedded=True), tmp_path, lambda _words: None)
    soak.loymax = cast(Any, SimpleNamespace(events=[]))
    soak.outcome.samples = run_with(0.0)[:3]

    soak._judge()

    assert soak.outcome.violations == [TOO_FEW]


@pytest.mark.long
@pytest.mark.parametrize("embedded", [True, False], ids=["embedded", "servers"])
async def test_a_thin_soak_holds(tmp_path: Path, embedded: bool) -> None:
    plan = Plan(events=300, embedded=embedded, every_s=0.5, age_s=1.0, prune_every_s=1.0)

    outcome = await Soak(plan, tmp_path, lambda _words: None).whole()

    # It may be over before there is anything to judge.
    assert set(outcome.violations) <= {TOO_FEW}
    assert outcome.checks > 1
    assert outcome.samples
