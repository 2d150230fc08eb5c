"""Cut off anywhere in a flow of a provider or of the shop, the hub and the provider end as if nothing had happened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from itertools import product
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import IS_EVERYTHING
from tests.faults.flows.paypal import SUBSCRIBE
from tests.faults.flows.paypay import EXCHANGE, PAYMENT
from tests.faults.flows.sepay import RENEWAL
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
    points_of,
    try_all,
)
from tests.faults.life import LivesHere
from tests.faults.nursery import nursery
from tests.faults.stage import Stage
from tests.faults.trial import trial
from tests.support.databases import DIALECTS, Databases

pytestmark = WARNINGS

FLOWS = {one.name: one for one in (EXCHANGE, PAYMENT, SUBSCRIBE, RENEWAL)}
IS_LONG = IS_EVERYTHING or os.environ.get("HUB_TEST_LONG", "0") != "0"
SHOWN = list(FLOWS) if IS_LONG else list(FLOWS)[int(os.environ.get("HUB_TEST_SEED", "1")) % 2 :: 2]
"""A sample takes every other one, which HUB_TEST_SEED decides."""
SAMPLE = {"sqlite": 1, "postgresql": 0}
"""Points that are tried when not all are, where something becomes lasting: a day of a flow takes seconds."""
KILLED = 2
"""The same for a process of its own, with HUB_TEST_LONG=1."""
ON = assign_databases(FLOWS) if IS_EVERYTHING else list(product(SHOWN, DIALECTS))


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest, dialect: str, databases: Databases, tmp_path: Path
) -> AsyncIterator[Stage]:
    """One flow on one kind of database."""
    if not IS_EVERYTHING and not SAMPLE[dialect]:
        pytest.skip("make faults tries every point on both databases")
    made = Stage(FLOWS[request.param], dialect, databases, tmp_path)
    await made.prepare()
    yield made
    await made.close()


@pytest.mark.timeout(GRID_S_MAX)
@pytest.mark.parametrize(("stage", "dialect"), ON, indirect=True)
@pytest.mark.parametrize("share", range(SHARES))
async def test_a_crash_at_any_point_of_a_flow_leaves_it_done_once(
    stage: Stage, share: int, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=False)
    a_few = SAMPLE[stage.dialect]
    tried = chosen(points, share=share, shares=SHARES) if is_everything else draw_few(points, chance, a_few)

    found = await try_all(partial(trial, stage, LivesHere()), tried, "raised", tally)

    tally.update(count_all(points, share=share))
    expect_kept(found, tried, tally)


@pytest.mark.skipif(not IS_LONG, reason="long; HUB_TEST_LONG=1 kills at two points of a flow, make faults at many")
@pytest.mark.timeout(GRID_S_MAX)
@pytest.mark.parametrize(("stage", "dialect"), ON, indirect=True)
@pytest.mark.parametrize("share", range(SHARES))
async def test_a_kill_at_any_point_of_a_flow_leaves_it_done_once(
    stage: Stage, share: int, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=False)
    tried = (
        chosen(points, share=share, shares=SHARES, part=KILLED_PART)
        if is_everything
        else draw_few(points, chance, KILLED)
    )
    async with nursery() as apart:
        found = await try_all(partial(trial, stage, apart), tried, "killed", tally)

    expect_kept(found, tried, tally)
