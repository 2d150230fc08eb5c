"""Cut off anywhere between a sale and the payment on its invoice, the hub ends with one invoice per sale, paid."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
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
    points_of,
    try_all,
)
from tests.faults.invoices import INVOICE, SALE, judged
from tests.faults.life import LivesHere
from tests.faults.nursery import nursery
from tests.faults.stage import Stage
from tests.faults.trial import trial
from tests.support.databases import DIALECTS, Databases

pytestmark = WARNINGS

SAMPLE = {"sqlite": 3, "postgresql": 1}
"""Points that are tried when not all are: half of them where something becomes lasting."""
KILLED = {"sqlite": 1, "postgresql": 0}
ALL = [dialect for _, dialect in assign_databases([INVOICE.name])]


@pytest.fixture
async def stage(dialect: str, databases: Databases, tmp_path: Path) -> AsyncIterator[Stage]:
    """The invoice's scenario on one kind of database."""
    made = Stage(INVOICE, dialect, databases, tmp_path)
    await made.prepare()
    yield made
    await made.close()


@pytest.mark.timeout(GRID_S_MAX)
@pytest.mark.parametrize("dialect", ALL if IS_EVERYTHING else DIALECTS, indirect=True)
@pytest.mark.parametrize("share", range(SHARES))
async def test_a_crash_at_any_point_leaves_one_invoice_per_sale_and_it_is_paid(
    stage: Stage, share: int, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=is_everything)
    a_few = SAMPLE[stage.dialect]
    tried = chosen(points, share=share, shares=SHARES) if is_everything else draw_few(points, chance, a_few)

    found = await try_all(partial(trial, stage, LivesHere()), tried, "raised", tally)

    tally.update(count_all(points, share=share))
    expect_kept(found, tried, tally)


@pytest.mark.timeout(GRID_S_MAX)
@pytest.mark.parametrize("dialect", ALL if IS_EVERYTHING else [one for one in DIALECTS if KILLED[one]], indirect=True)
@pytest.mark.parametrize("share", range(SHARES))
async def test_a_kill_at_any_point_leaves_one_invoice_per_sale_and_it_is_paid(
    stage: Stage, share: int, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=is_everything)
    tried = (
        chosen(points, share=share, shares=SHARES, part=KILLED_PART)
        if is_everything
        else draw_few(points, chance, KILLED[stage.dialect])
    )

    async with nursery() as apart:
        found = await try_all(partial(trial, stage, apart), tried, "killed", tally)

    expect_kept(found, tried, tally)


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
