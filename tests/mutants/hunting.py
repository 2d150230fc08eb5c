"""Tests that stop at the first thing they notice. Mutants are hunted with them; the whole grids are in tests/faults.

Nobody collects this file by itself; its tests are asked for by name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import trial as trials
from tests.faults.invoices import INVOICE
from tests.faults.life import LivesHere
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage
from tests.faults.test_flow_crashes import FLOWS
from tests.faults.trial import clean_run, trial
from tests.support.databases import Databases

TRIAL_S_MAX = 60.0
"""A mutant that does nothing any more is given up after this."""

pytestmark = [
    # Connections are closed under the hub's feet here.
    pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


STORIES = {**SCENARIOS, INVOICE.name: INVOICE, **FLOWS}


@pytest.mark.parametrize("scenario", list(STORIES))
async def test_the_hub_dies_at_any_boundary(
    scenario: str, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "TRIAL_S_MAX", TRIAL_S_MAX)
    stage = Stage(STORIES[scenario], "sqlite", databases, tmp_path)
    await stage.prepare()
    try:
        verdict, points, opened = await clean_run(stage, LivesHere())
        assert not verdict.violations, str(verdict)
        for point in points[opened:]:
            if point.is_boundary:
                verdict = await trial(stage, LivesHere(), point)
                assert not verdict.violations, str(verdict)
    finally:
        await stage.close()
