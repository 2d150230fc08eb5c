"""Cut off anywhere between a sale and the payment on its invoice, the hub ends with one invoice per sale, paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import IS_EVERYTHING
from tests.faults.invoices import INVOICE, SALE, judged
from tests.faults.life import LivesHere
from tests.faults.nursery import nursery
from tests.faults.seams import Point
from tests.faults.stage import Stage
from tests.faults.test_crashes import (
    HALF_AN_HOUR_S,
    KILLED_PART,
    SHARES,
    TWO_HOURS_S,
    most_passed_by,
    points_of,
    pytestmark,
    report,
    thinned,
    try_all,
)
from tests.support.databases import DIALECTS, Databases

__all__ = ["pytestmark"]

SAMPLE = {"sqlite": 3, "postgresql": 1}
"""Points that are tried when not all are: half of them where something becomes lasting."""
KILLED = {"sqlite": 1, "postgresql": 0}


@pytest.fixture
async def stage(dialect: str, databases: Databases, tmp_path: Path) -> AsyncIterator[Stage]:
    """The invoice's scenario on one kind of database."""
    made = Stage(INVOICE, dialect, databases, tmp_path)
    await made.prepare()
    yield made
    await made.close()


@pytest.mark.timeout(TWO_HOURS_S if IS_EVERYTHING else HALF_AN_HOUR_S)
@pytest.mark.parametrize("share", range(SHARES if IS_EVERYTHING else 1))
async def test_a_crash_at_any_point_leaves_one_invoice_per_sale_and_it_is_paid(
    stage: Stage, share: int, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=is_everything)
    chosen = thinned(points, chance)[share::SHARES] if is_everything else some(points, chance, SAMPLE[stage.dialect])

    found = await try_all(stage, LivesHere(), chosen, tally)

    mine = points[share::SHARES] if is_everything else points
    tally.update({"points": len(mine), "raised": len(chosen) - tally["passed by"]})
    assert not found, report(found)
    assert tally["passed by"] <= most_passed_by(chosen)


@pytest.mark.timeout(TWO_HOURS_S if IS_EVERYTHING else HALF_AN_HOUR_S)
@pytest.mark.parametrize("dialect", [one for one in DIALECTS if IS_EVERYTHING or KILLED[one]], indirect=True)
async def test_a_kill_at_any_point_leaves_one_invoice_per_sale_and_it_is_paid(
    stage: Stage, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=is_everything)
    chosen = thinned(points, chance, part=KILLED_PART) if is_everything else some(points, chance, KILLED[stage.dialect])

    async with nursery() as apart:
        found = await try_all(stage, apart, chosen, tally)

    tally.update({"killed": len(chosen) - tally["passed by"]})
    assert not found, report(found)
    assert tally["passed by"] <= most_passed_by(chosen)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "SENT"},
        {"mails": 2},
        {"payments": {"transactions": [{"amount": {"value": "9.99"}}] * 2}},
        {"payments": {"transactions": []}},
        {"detail": {"invoice_number": "S-OTHER"}},
        None,
    ],
)
def test_the_judge_notices_an_invoice_that_is_not_as_it_must_be(changes: dict[str, object] | None) -> None:
    right = {
        "detail": {"invoice_number": f"S-{SALE}"},
        "status": "MARKED_AS_PAID",
        "mails": 1,
        "payments": {"transactions": [{"amount": {"value": "9.99"}}]},
    }

    assert judged([right]) == []
    assert judged([right, right] if changes is None else [right | changes]) != []
    assert judged([]) != []


def some(points: Sequence[Point], chance: Random, number: int) -> list[Point]:
    """Some of the points, every other one where something becomes lasting."""
    boundaries = [point for point in points if point.is_boundary]
    statements = [point for point in points if not point.is_boundary]
    half = -(-number // 2)
    return sorted(chance.sample(boundaries, half) + chance.sample(statements, number - half))
