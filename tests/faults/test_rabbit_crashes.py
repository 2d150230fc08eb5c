"""With RabbitMQ and PostgreSQL: one of two hubs is killed, or fails and lives on, at any point of its life."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import Telling
from tests.faults.grid import (
    GRID_S_MAX,
    KILLED_PART,
    RUNS,
    SHARES,
    by_place,
    chosen,
    count_all,
    draw_few,
    most_passed_by,
    report,
    try_all,
)
from tests.faults.nursery import nursery
from tests.faults.places import TILL, expect_no_fewer
from tests.faults.rabbit_stage import RabbitStage
from tests.faults.seams import Point
from tests.support.databases import Databases

SAMPLE = 2
"""Points of each way when not all are tried."""

pytestmark = pytest.mark.timeout(GRID_S_MAX)


@pytest.fixture
def counts(tell: Telling) -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()
    yield counts
    tell(TILL, "postgresql", counts)


@pytest.mark.parametrize("share", range(SHARES))
async def test_one_of_two_that_is_killed_or_fails_at_any_point_loses_and_doubles_nothing(
    databases: Databases, tmp_path: Path, share: int, chance: Random, is_everything: bool, counts: Counter[str]
) -> None:
    async with nursery() as apart:
        stage = RabbitStage(databases, tmp_path, apart)
        try:
            await stage.prepare()
            opening, rest = await points_of(stage)
            every = [*opening, *rest]
            if is_everything:
                # One that fails while it is opened does not start, and whoever started it tries again.
                killed = chosen(every, share=share, shares=SHARES, part=KILLED_PART)
                raised = chosen(rest, share=share, shares=SHARES)
            else:
                killed, raised = draw_few(rest, chance, SAMPLE), draw_few(rest, chance, SAMPLE)
            counts.update(count_all(every, share=share))

            found = await try_all(partial(stage.trial, lives_on=False), killed, "killed", counts)
            found += await try_all(partial(stage.trial, lives_on=True), raised, "raised", counts)
        finally:
            await stage.close()
    assert not found, report(found)
    assert counts["passed by"] <= 2 * most_passed_by(raised)


async def points_of(stage: RabbitStage) -> tuple[list[Point], list[Point]]:
    """Every point that all of some runs meet, while opening and after, in an order that is the same each time."""
    runs = [await stage.clean_run() for _ in range(RUNS)]
    for clean in runs:
        assert not clean.verdict.violations, report([clean.verdict])
    expect_no_fewer(TILL, "postgresql", by_place(point for clean in runs for point in clean.opening | clean.rest))
    opening = frozenset.intersection(*(clean.opening for clean in runs))
    return sorted(opening), sorted(frozenset.intersection(*(clean.rest for clean in runs)))
