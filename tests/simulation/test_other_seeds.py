"""The other half of the seeds: a file of its own, so that another process can play it."""

from __future__ import annotations

import pytest

from tests.simulation.seeds import EVEN, RUNS_S_MAX, part_holds


@pytest.mark.timeout(RUNS_S_MAX + 60)
@pytest.mark.parametrize("part", EVEN)
def test_every_promise_holds_whatever_goes_wrong(part: int) -> None:
    part_holds(part)
