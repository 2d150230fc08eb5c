"""The rules of a wallet's ledger: every published case, and a database on which they hold or do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from handlers.sepay.ledger_rules import Movement, broken_wallets, check_wallets, violations
from tests.unit.sepay.bench import ask_for_topup, settle, wallet
from tests.unit.sepay.desk import Desk

FILE = Path(__file__).parents[2] / "data/sepay/ledger_cases.json"
CASES: list[dict[str, Any]] = json.loads(FILE.read_bytes())["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["id"]))
def test_a_published_case_breaks_what_is_published(case: dict[str, Any]) -> None:
    movements = [Movement(**entry) for entry in case["entries"]]

    found = violations(case["wallet_balance"], movements)

    assert sorted(found) == sorted(case.get("violations", []))
    assert (found == []) is case["valid"]
    assert sum(one.signed for one in movements) == case["expected_balance"]


def test_an_order_that_was_purchased_twice_is_found() -> None:
    deposit = Movement(
        tx_type="deposit", is_credit=True, amount=20, balance_before=0, balance_after=20, payment_id="p1"
    )
    purchases = [
        Movement(tx_type="purchase", is_credit=False, amount=10, balance_before=20, balance_after=10, order_id="o1"),
        Movement(tx_type="purchase", is_credit=False, amount=10, balance_before=10, balance_after=0, order_id="o1"),
    ]

    assert violations(0, [deposit, *purchases]) == ["order_purchased_twice"]


async def test_what_the_hub_books_keeps_the_rules(desk: Desk) -> None:
    for number in (1, 2):
        asked = await ask_for_topup(desk)
        await settle(desk, asked.transfer_content, id=number)

    caused = await desk.run(check_wallets, {})

    assert (caused.outcome, caused.review) == ("holds", None)


async def test_a_balance_that_was_changed_by_hand_is_on_a_person_s_list(desk: Desk) -> None:
    asked = await ask_for_topup(desk)
    await settle(desk, asked.transfer_content)
    await tamper(desk)

    caused = await desk.run(check_wallets, {})

    assert caused.review is not None
    assert (caused.outcome, "balance_not_sum" in caused.review[1]) == ("ledger_violation", True)
    async with desk.store.reading() as conn, AsyncSession(bind=conn) as session:
        assert await broken_wallets(session) == {str((await wallet(desk)).id): ["balance_not_sum"]}


async def tamper(desk: Desk) -> None:
    """What nobody may do: take the guard away and change a balance."""

    async def work(conn: AsyncConnection) -> None:
        if conn.dialect.name == "postgresql":
            await conn.execute(text("ALTER TABLE balances DISABLE TRIGGER USER"))
        else:
            names = text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'balances'")
            for name in (await conn.scalars(names)).all():
                await conn.execute(text(f"DROP TRIGGER {name}"))
        await conn.execute(text("UPDATE balances SET balance = balance + 1 WHERE balance = 100000"))

    await desk.store.write(work)
