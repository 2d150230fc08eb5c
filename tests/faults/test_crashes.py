"""Cut off at any point and started again, the hub ends as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import product
from random import Random

import pytest

from tests.faults.conftest import IS_EVERYTHING
from tests.faults.grid import (
    GRID_S_MAX,
    KILLED_PART,
    SHARES,
    WARNINGS,
    assign_databases,
    chosen,
    count_all,
    draw_few,
    expect_kept,
    one_of_each_place,
    points_of,
    try_all,
)
from tests.faults.life import LivesHere
from tests.faults.nursery import nursery
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage
from tests.faults.trial import trial
from tests.support.databases import DIALECTS

SAMPLE = 2
"""Points at which a real process is killed when not all are: as many boundaries as statements."""
PART = {"sqlite": 12, "postgresql": 48}
"""When not all are tried: one place in so many. Both databases run the same code, and PostgreSQL takes its time."""
ALL = assign_databases(SCENARIOS)
RAISED_ON = ALL if IS_EVERYTHING else list(product(SCENARIOS, DIALECTS))
KILLED_ON = ALL if IS_EVERYTHING else list(zip(SCENARIOS, DIALECTS, strict=True))
"""Scenario and database; a sample takes each of either once, since what kills takes its time to load."""

pytestmark = WARNINGS


@pytest.mark.timeout(GRID_S_MAX)
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

    found = await try_all(partial(trial, stage, LivesHere()), tried, "raised", tally)

    tally.update(count_all(points, share=share))
    expect_kept(found, tried, tally)


@pytest.mark.timeout(GRID_S_MAX)
@pytest.mark.parametrize(("stage", "dialect"), KILLED_ON, indirect=True)
@pytest.mark.parametrize("share", range(SHARES))
async def test_a_hub_that_is_killed_loses_and_doubles_nothing(
    stage: Stage, share: int, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=is_everything)
    tried = (
        chosen(points, share=share, shares=SHARES, part=KILLED_PART)
        if is_everything
        else draw_few(points, chance, SAMPLE)
    )

    async with nursery() as apart:
        found = await try_all(partial(trial, stage, apart), tried, "killed", tally)

    expect_kept(found, tried, tally)
