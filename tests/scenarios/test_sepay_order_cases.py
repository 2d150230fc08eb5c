"""Every published case of a transfer that concerns an order, over HTTP into a running hub."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from handlers.sepay.tables import PayPayment, PayPaymentIntent
from handlers.sepay.tables_licenses import PayUserSymbolLicense
from handlers.sepay.tables_orders import PaySymbolOrder
from tests.scenarios.bank import Bank
from tests.scenarios.given import WALLET_ID
from tests.scenarios.test_sepay_transfers import ABOUT_ORDERS, CASES, assert_listed_for_review, body_of, prepare
from tests.support.clock import SettableClock


@pytest.mark.parametrize("name", ABOUT_ORDERS)
async def test_a_published_case_ends_as_published(bank: Bank, clock: SettableClock, name: str) -> None:
    case = CASES[name]
    await prepare(bank, clock, case)

    reply = await bank.deliver(body_of(case))

    assert reply == (case["reply"]["status"], case["reply"]["body"])
    await bank.settled()
    expected = case["expect"]
    assert await bank.outcomes("settle-bank-transfer") == [expected["outcome"]]
    await judge_tables(bank, case)
    assert await ledger(bank) == expected.get("ledger", [])
    balance = expected.get("wallet_balance", case["given"]["wallet"]["balance"])
    assert await bank.wallet_balance(WALLET_ID) == balance
    if expected.get("event_processed") is False:
        await assert_listed_for_review(bank, case)
        assert await bank.suspense() == case["payload"]["transferAmount"]
    else:
        assert await bank.suspense() == 0


async def judge_tables(bank: Bank, case: dict[str, Any]) -> None:
    expected = case["expect"]
    (order,) = await bank.entities(PaySymbolOrder)
    assert order.status == expected["order_status"]
    (intent,) = await bank.entities(PayPaymentIntent)
    assert intent.status == expected.get("intent_status", intent.status)
    licenses = await bank.entities(PayUserSymbolLicense)
    was_paid_now = expected["outcome"] in ("order_paid", "credited_and_order_paid")
    assert len(licenses) == (1 if was_paid_now else 0)
    for wanted, found in zip(expected.get("licenses", []), licenses, strict=False):
        assert (found.symbol_id, found.status) == (wanted["symbol_id"], wanted["status"])
        assert found.end_at == found.start_at + timedelta(days=wanted["days"])
    if "message" in expected:
        (payment,) = await bank.entities(PayPayment)
        assert payment.message == expected["message"]


async def ledger(bank: Bank) -> list[dict[str, Any]]:
    """The wallet's ledger as operators query it, without what the case started from."""
    query = text(
        "SELECT tx_type, is_credit, amount, balance_before, balance_after FROM pay_wallet_ledger"
        " WHERE order_id IS NOT NULL OR payment_id IS NOT NULL ORDER BY seq"
    )
    async with bank.running.hub.store.reading() as conn:
        rows = (await conn.execute(query)).mappings().all()
    return [{**row, "is_credit": bool(row["is_credit"])} for row in rows]


async def test_operators_find_in_the_view_what_needs_a_person(bank: Bank, clock: SettableClock) -> None:
    case = CASES["order_already_paid_by_wallet"]
    await prepare(bank, clock, case)
    await bank.deliver(body_of(case))
    await bank.deliver(b'{"id": 77, "transferType": "in", "transferAmount": -1, "content": "x"}')
    await bank.settled()

    async with bank.running.hub.store.reading() as conn:
        query = "SELECT sepay_tx_id, outcome, process_error, payload FROM pay_sepay_webhook_events WHERE NOT processed"
        rows = (await conn.execute(text(f"{query} ORDER BY sepay_tx_id"))).all()

    assert [(row.sepay_tx_id, row.outcome) for row in rows] == [
        (77, "invalid_payload"),
        (case["payload"]["id"], "order_not_payable"),
    ]
    assert rows[1].process_error == "order already settled"
    assert json.loads(bytes(rows[1].payload)) == case["payload"]
