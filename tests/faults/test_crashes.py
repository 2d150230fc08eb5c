"""Cut off at any point and started again, the hub ends as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from itertools import product
from random import Random

import pytest

from tests.faults.conftest import IS_EVERYTHING
from tests.faults.grid import (
    HALF_AN_HOUR_S,
    KILLED_PART,
    SHARES,
    TWO_HOURS_S,
    WARNINGS,
    chosen,
    judged,
    one_of_each_place,
    pairs,
    points_of,
    some,
    there_are,
    try_all,
)
from tests.faults.life import LivesHere
from tests.faults.nursery import nursery
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage
from tests.support.databases import DIALECTS

SAMPLE = 2
"""Points at which a real process is killed when not all are: as many boundaries as statements."""
PART = {"sqlite": 12, "postgresql": 48}
"""When not all are tried: one place in so many. Both databases run the same code, and PostgreSQL takes its time."""
ALL = pairs(SCENARIOS, 0)
RAISED_ON = ALL if IS_EVERYTHING else list(product(SCENARIOS, DIALECTS))
KILLED_ON = ALL if IS_EVERYTHING else list(zip(SCENARIOS, DIALECTS, strict=True))
"""Scenario and database; a sample takes each of either once, since what kills takes its time to load."""

pytestmark = WARNINGS


@pytest.mark.timeout(HALF_AN_HOUR_S)
@pytest.mark.parametrize(("stage", "dialect"), RAISED_ON, indirect=True)
@pytest.mark.parametrize("share", range(SHARES))
async def test_a_hub_that_dies_at_any_point_loses_and_doubles_nothing(
    stage: Stage, share: int, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=is_everything)
    if is_everything:
        tried = chosen(points, share=share, shares=SHARES)
    else:
        tried = one_of_each_place(points, chance, part=PART[stage.dialect])

    found = await try_all(stage, LivesHere(), tried, tally)

    tally.update({**there_are(points, share=share), "raised": len(tried) - tally["passed by"]})
    judged(found, tried, tally)


@pytest.mark.timeout(TWO_HOURS_S)
@pytest.mark.parametrize(("stage", "dialect"), KILLED_ON, indirect=True)
async def test_a_hub_that_is_killed_loses_and_doubles_nothing(
    stage: Stage, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=is_everything)
    tried = chosen(points, part=KILLED_PART) if is_everything else some(points, chance, SAMPLE)

    async with nursery() as apart:
        found = await try_all(stage, apart, tried, tally)

    tally.update({"killed": len(tried) - tally["passed by"]})
    judged(found, tried, tally)
