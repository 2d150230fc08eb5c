"""Tests that stop at the first thing they notice. Mutants are hunted with them; the whole grids are in tests/faults.

Nobody collects this file by itself; its tests are asked for by name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import trial as trials
from tests.faults.flows.paypal import SUBSCRIBE
from tests.faults.flows.paypay import EXCHANGE, PAYMENT
from tests.faults.flows.sepay import RENEWAL
from tests.faults.invoices import INVOICE
from tests.faults.life import LivesHere
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage
from tests.faults.trial import Verdict, clean_run, trial
from tests.mutants.noticed import tell, told
from tests.support.databases import Databases

ROUNDS = 3
TRIAL_S_MAX = 60.0
"""A mutant that does nothing any more is given up after this."""

pytestmark = [
    # Connections are closed under the hub's feet here.
    pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


STORIES = SCENARIOS | {one.name: one for one in (INVOICE, EXCHANGE, PAYMENT, SUBSCRIBE, RENEWAL)}


@pytest.mark.parametrize("scenario", list(STORIES))
async def test_the_hub_dies_at_any_boundary(
    scenario: str, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hunt(scenario, "", databases, tmp_path, monkeypatch)


@pytest.mark.parametrize("scenario", list(STORIES))
async def test_the_hub_dies_around_the_record_of_a_call(
    scenario: str, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hunt(scenario, "calls", databases, tmp_path, monkeypatch)


async def hunt(
    scenario: str, around: str, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crash at each boundary whose place names ``around``, until something is noticed."""
    monkeypatch.setattr(trials, "TRIAL_S_MAX", TRIAL_S_MAX)
    stage = Stage(STORIES[scenario], "sqlite", databases, tmp_path)
    await stage.prepare()
    try:
        verdict, points, opened = await clean_run(stage, LivesHere())
        _look(scenario, verdict)
        boundaries = [point for point in points[opened:] if point.is_boundary and around in point.place]
        noted = told(scenario)
        # Which call of several is under way at a point is not the same in each run.
        for point in boundaries * ROUNDS if noted is None else noted:
            _look(scenario, await trial(stage, LivesHere(), point))
    finally:
        await stage.close()


def _look(scenario: str, verdict: Verdict) -> None:
    if verdict.violations:
        tell(scenario, verdict.point)
    assert not verdict.violations, str(verdict)
