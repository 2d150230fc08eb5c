"""Every published case of a transfer for a top-up: given this state and this body, that outcome and that balance."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from handlers.sepay.books import bank_account, vnd, wallet_account
from handlers.sepay.order_codes import normalise
from handlers.sepay.settle import settle_transfer
from handlers.sepay.tables import Base, PayBankTransaction, PayPayment, PayPaymentAttempt, PayPaymentIntent, PayWallet
from hub.jsonbody import parse_json
from hub.ledger import Book, Move
from tests.unit.sepay.desk import Desk

FILE = Path(__file__).parents[2] / "data/sepay/webhook_processing_cases.json"
CASES: list[dict[str, Any]] = parse_json(FILE.read_bytes())["cases"]
WALLET_ID, ATTEMPT_ID = UUID(int=1), UUID(int=2)
USER = "42"
AT_THE_DOOR = {"bad_signature", "not_json", "missing_id", "database_down"}
"""Decided before there is an event: see the tests of the ingress and of the running hub."""


def is_topup(case: dict[str, Any]) -> bool:
    given = case["given"]
    return case["id"] not in AT_THE_DOOR and given["order"] is None and not given["prior"]


@pytest.mark.parametrize("case", [case for case in CASES if is_topup(case)], ids=lambda c: str(c["id"]))
async def test_a_published_case_ends_as_published(desk: Desk, case: dict[str, Any]) -> None:
    desk.now = datetime.fromisoformat(case["now"])
    await set_up(desk, case["given"])
    expected = case["expect"]

    runs = [await desk.run(settle_transfer, case["payload"]) for _ in range(2 if "ledger_total" in expected else 1)]

    if "ledger_total" in expected:
        assert [caused.outcome for caused in runs] == ["credited", "ignored_duplicate"]
    else:
        assert runs[0].outcome == expected["outcome"]
    balance = await desk.balance(wallet_account(WALLET_ID))
    assert balance == expected.get("wallet_balance", case["given"]["wallet"]["balance"])
    (intent,) = await desk.rows(PayPaymentIntent)
    assert intent.status == expected.get("intent_status", intent.status)
    await check_the_rest(desk, expected)


async def check_the_rest(desk: Desk, expected: dict[str, Any]) -> None:
    rows = await desk.rows(PayBankTransaction)
    if "process_error_contains" in expected:
        assert expected["process_error_contains"].lower() in (rows[0].process_error or "").lower()
    if "bank_transaction" in expected:
        amounts = {"amount_in": rows[0].amount_in_minor, "amount_out": rows[0].amount_out_minor}
        assert amounts == expected["bank_transaction"]
    if "payment" in expected:
        (payment,) = await desk.rows(PayPayment)
        found = {
            "status": payment.status,
            "amount": payment.amount_minor,
            "provider_payment_id": payment.provider_payment_id,
        }
        assert found == expected["payment"]
    if expected.get("ledger") == []:
        assert await desk.rows(PayPayment) == []


async def set_up(desk: Desk, given: dict[str, Any]) -> None:
    """The wallet with its balance, the intent and its attempt."""
    wallet, intent = given["wallet"], given["intent"]
    expires_at = datetime.fromisoformat(intent["expires_at"])
    open_wallet = PayWallet(
        id=WALLET_ID, user_id=USER, currency="VND", status=wallet["status"], created_at=desk.now, updated_at=desk.now
    )
    open_intent = PayPaymentIntent(
        intent_id=UUID(intent["intent_id"]),
        user_id=USER,
        purpose=intent["purpose"],
        amount_minor=intent["amount"],
        currency="VND",
        status=intent["status"],
        order_code=intent["order_code"],
        order_code_norm=normalise(intent["order_code"]),
        expires_at=expires_at,
        details=intent["metadata"],
        created_at=desk.now,
        updated_at=desk.now,
    )
    attempt = PayPaymentAttempt(
        attempt_id=ATTEMPT_ID,
        intent_id=open_intent.intent_id,
        status=intent["status"],
        expires_at=expires_at,
        details={},
        created_at=desk.now,
    )

    async def store(conn: AsyncConnection) -> None:
        for row in (open_wallet, open_intent, attempt):
            await _insert(conn, row)
        book = Book(conn, now=desk.now)
        move = Move(bank_account("opening"), wallet_account(WALLET_ID), vnd(wallet["balance"]))
        await book.post(reference="opening", kind="deposit", moves=[move])
        await book.flush()

    await desk.store.write(store)


async def _insert(conn: AsyncConnection, row: Base) -> None:
    async with AsyncSession(bind=conn, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
        session.add(row)
        await session.commit()
