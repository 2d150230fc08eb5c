"""Every published case of a transfer, over HTTP into a running hub: this state, this body, this reply, this end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from handlers.sepay.tables import PayBankTransaction, PayPayment, PayPaymentIntent
from handlers.sepay.views import wallet_history
from hub.store import tables as t
from tests.scenarios.bank import LOYALTY_QUEUE, REVIEW_QUEUE, WALLET_QUEUE, Bank, one_connection_each
from tests.scenarios.given import USER, WALLET_ID, set_up
from tests.scenarios.outage import database_away
from tests.support.clock import SettableClock

FILE = Path(__file__).parents[1] / "data/sepay/webhook_processing_cases.json"
CASES: dict[str, dict[str, Any]] = {case["id"]: case for case in json.loads(FILE.read_bytes())["cases"]}

ABOUT_ORDERS = [
    "order_payment_ok",
    "symbol_purchase_ok",
    "order_already_paid_by_wallet",
    "order_paid_through_older_intent",
    "topup_then_auto_payment",
    "topup_but_still_short",
    "topup_order_already_paid",
]
"""Judged in ``test_sepay_order_cases.py``."""
AT_THE_DOOR = ["bad_signature", "not_json", "missing_id", "database_down"]
"""Answered before there is a transfer; each has a test of its own below."""
REPEATS = ["same_tx_again", "two_deliveries_at_once", "second_transfer_same_code"]
"""Cases about more than one delivery; each has a test of its own below."""
SINGLE = [name for name in CASES if name not in {*ABOUT_ORDERS, *AT_THE_DOOR, *REPEATS}]

HELD_MONEY = {"unmatched", "amount_mismatch", "late_payment", "duplicate_payment", "wallet_suspended"}
"""Outcomes whose money came to one of our accounts and waits in suspense."""


def test_every_published_case_is_judged() -> None:
    assert len(SINGLE) == 17
    assert set(CASES) == {*SINGLE, *ABOUT_ORDERS, *AT_THE_DOOR, *REPEATS}


@pytest.mark.parametrize("name", SINGLE)
async def test_a_published_case_ends_as_published(bank: Bank, clock: SettableClock, name: str) -> None:
    case = CASES[name]
    await prepare(bank, clock, case)

    reply = await bank.deliver(body_of(case))

    assert reply == (case["reply"]["status"], case["reply"]["body"])
    await bank.settled()
    await judge(bank, case)


async def test_the_same_transfer_again_credits_nothing(bank: Bank, clock: SettableClock) -> None:
    case = CASES["same_tx_again"]
    await prepare(bank, clock, CASES["topup_ok"])
    await bank.deliver(body_of(case))
    await bank.settled()

    reply = await bank.deliver(body_of(case))

    assert reply == (200, case["reply"]["body"])
    await bank.settled()
    await assert_credited_once(bank, case["expect"]["wallet_balance"])
    assert len(await bank.rows(t.duplicates)) == 1
    assert len(await bank.entities(PayPayment)) == case["expect"]["payments_total"]


@pytest.mark.parametrize("copies", [2, 8])
async def test_the_same_transfer_several_times_at_once_credits_once(
    bank: Bank, clock: SettableClock, copies: int
) -> None:
    case = CASES["two_deliveries_at_once"]
    await prepare(bank, clock, case)

    statuses = await one_connection_each(bank, [body_of(case)] * copies)

    assert statuses == [200] * copies
    await bank.settled()
    await assert_credited_once(bank, case["expect"]["wallet_balance"])
    assert len(await bank.rows(t.duplicates)) == copies - 1


async def test_a_second_transfer_for_a_paid_code_waits_for_a_person(bank: Bank, clock: SettableClock) -> None:
    case = CASES["second_transfer_same_code"]
    await prepare(bank, clock, CASES["topup_ok"])
    await bank.deliver(body_of(CASES["topup_ok"]))
    await bank.settled()

    reply = await bank.deliver(body_of(case))

    assert reply == (200, case["reply"]["body"])
    await bank.settled()
    assert await bank.outcomes("settle-bank-transfer") == ["credited", "duplicate_payment"]
    assert await bank.wallet_balance(WALLET_ID) == case["expect"]["wallet_balance"]
    await assert_listed_for_review(bank, case)
    assert await bank.suspense() == case["payload"]["transferAmount"]


async def test_a_wrong_key_stores_nothing(bank: Bank, clock: SettableClock) -> None:
    case = CASES["bad_signature"]
    await prepare(bank, clock, case)

    reply = await bank.deliver(body_of(case), authorization="Apikey nobody-s-key")

    assert reply == (401, case["reply"]["body"])
    assert await bank.rows(t.inbox) == []
    assert await bank.wallet_balance(WALLET_ID) == case["given"]["wallet"]["balance"]


@pytest.mark.parametrize("name", ["not_json", "missing_id"])
async def test_what_cannot_be_read_is_kept_for_a_person_and_moves_nothing(
    bank: Bank, clock: SettableClock, name: str
) -> None:
    case = CASES[name]
    await prepare(bank, clock, case)

    replies = [await bank.deliver(body_of(case)) for _ in range(2)]

    assert replies == [(400, case["reply"]["body"])] * 2
    await bank.settled()
    (kept,) = await bank.rows(t.inbox)
    assert kept.payload == body_of(case)
    assert [row.state for row in await bank.rows(t.deliveries)] == ["parked"]
    assert await bank.entities(PayBankTransaction) == []


async def test_while_the_database_is_away_the_bank_is_asked_to_come_again(bank: Bank, clock: SettableClock) -> None:
    case = CASES["database_down"]
    await prepare(bank, clock, case)

    async with database_away(bank.running.hub.store):
        reply = await bank.deliver(body_of(case))

    assert reply == (503, case["reply"]["body"])
    assert await bank.rows(t.inbox) == []
    assert (await bank.deliver(body_of(case)))[0] == 200
    await bank.settled()
    await assert_credited_once(bank, 500_000)


async def prepare(bank: Bank, clock: SettableClock, case: dict[str, Any]) -> None:
    now = datetime.fromisoformat(case["now"])
    clock.set(now)
    await set_up(bank.running.hub.store, case["given"], now)


def body_of(case: dict[str, Any]) -> bytes:
    payload = case["payload"]
    return payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()


async def judge(bank: Bank, case: dict[str, Any]) -> None:
    """Everything that the case says about the end, and where its money is."""
    expected = case["expect"]
    assert await bank.outcomes("settle-bank-transfer") == [expected["outcome"]]
    await judge_tables(bank, case)
    await judge_wallet(bank, case)
    if expected["outcome"] == "credited":
        await assert_told_everybody(bank, case)
    else:
        assert await bank.messages(WALLET_QUEUE) == await bank.messages(LOYALTY_QUEUE) == []
    if expected.get("event_processed") is False:
        await assert_listed_for_review(bank, case)
    else:
        assert await bank.messages(REVIEW_QUEUE) == []


async def judge_tables(bank: Bank, case: dict[str, Any]) -> None:
    expected, payload = case["expect"], case["payload"]
    (intent,) = await bank.entities(PayPaymentIntent)
    as_before = "succeeded" if expected["outcome"] == "credited" else case["given"]["intent"]["status"]
    assert intent.status == expected.get("intent_status", as_before)

    payments = await bank.entities(PayPayment)
    if expected["outcome"] == "credited":
        published = {"status": "succeeded", "amount": 100_000, "provider_payment_id": str(payload["id"])}
        found = [(one.status, one.amount_minor, one.provider_payment_id) for one in payments]
        assert found == [tuple(expected.get("payment", published).values())]
    else:
        assert payments == []

    transactions = await bank.entities(PayBankTransaction)
    is_booked = expected["outcome"] not in ("test_ping", "invalid_payload")
    assert [one.sepay_tx_id for one in transactions] == ([payload["id"]] if is_booked else [])
    if "bank_transaction" in expected:
        found_amounts = (transactions[0].amount_in_minor, transactions[0].amount_out_minor)
        assert found_amounts == tuple(expected["bank_transaction"].values())


async def judge_wallet(bank: Bank, case: dict[str, Any]) -> None:
    expected, before = case["expect"], case["given"]["wallet"]["balance"]
    assert await bank.wallet_balance(WALLET_ID) == expected.get("wallet_balance", before)
    held = case["payload"]["transferAmount"] if expected["outcome"] in HELD_MONEY else 0
    assert await bank.suspense() == held
    if "ledger" in expected:
        async with reading(bank) as session:
            lines = [one for one in await wallet_history(session, WALLET_ID, limit=9) if one.reference != "opening"]
        found = [
            {
                "tx_type": line.kind,
                "is_credit": line.change_minor > 0,
                "amount": abs(line.change_minor),
                "balance_before": line.before_minor,
                "balance_after": line.after_minor,
            }
            for line in lines
        ]
        assert found == expected["ledger"]


async def assert_credited_once(bank: Bank, balance: int) -> None:
    assert await bank.wallet_balance(WALLET_ID) == balance
    assert await bank.outcomes("settle-bank-transfer") == ["credited"]
    assert len(await bank.entities(PayPayment)) == 1
    assert len(await bank.messages(WALLET_QUEUE)) == 1


async def assert_told_everybody(bank: Bank, case: dict[str, Any]) -> None:
    (wallet_message,) = await bank.messages(WALLET_QUEUE)
    after = case["expect"]["wallet_balance"]
    assert (wallet_message["user_id"], UUID(wallet_message["wallet_id"])) == (USER, WALLET_ID)
    assert (wallet_message["amount"], wallet_message["balance_after"]) == (100_000, after)
    (loyalty_message,) = await bank.messages(LOYALTY_QUEUE)
    assert (loyalty_message["kind"], loyalty_message["member_id"]) == ("loyalty.wallet.credited", USER)
    assert (loyalty_message["amount_minor"], loyalty_message["balance_after_minor"]) == (100_000, after)
    assert (loyalty_message["currency"], loyalty_message["source"]) == ("VND", "sepay")


async def assert_listed_for_review(bank: Bank, case: dict[str, Any]) -> None:
    expected = case["expect"]
    (message,) = await bank.messages(REVIEW_QUEUE)
    assert (message["outcome"], message["sepay_tx_id"]) == (expected["outcome"], case["payload"]["id"])
    # Whether the nightly check of the ledger strikes meanwhile, and finds a wallet with no past, is up to chance.
    (review,) = [one for one in await bank.rows(t.reviews) if one.outcome != "ledger_violation"]
    assert (review.outcome, review.state) == (expected["outcome"], "open")
    assert message["event_id"] == str(review.event_id)
    said = expected.get("process_error_contains", "").lower()
    assert said in review.reason.lower()
    assert said in message["process_error"].lower()


@asynccontextmanager
async def reading(bank: Bank) -> AsyncIterator[Any]:
    async with bank.running.hub.api.reading() as session:
        yield session
