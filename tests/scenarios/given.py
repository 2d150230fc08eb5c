"""Brings a hub into the state that a published case starts from, through the hub's own tables and ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from handlers.sepay.books import bank_account, vnd, wallet_account
from handlers.sepay.order_codes import normalise
from handlers.sepay.tables import PayPaymentAttempt, PayPaymentIntent, PayWallet
from handlers.sepay.tables_orders import PaySymbolOrder, PaySymbolOrderItem
from hub.ledger import Book, Move
from hub.store.store import Store
from tests.scenarios.bank import MAIN_ACCOUNT

WALLET_ID: Final = UUID(int=1)
USER: Final = "42"


async def set_up(store: Store, given: dict[str, Any], now: datetime) -> None:
    """The wallet with what it holds, the intent with its attempt, the order; what came before is delivered instead."""
    if given["wallet"] is None:
        return
    wallet, intent = _wallet(given["wallet"], now), _intent(given["intent"], now)

    async def work(conn: AsyncConnection) -> None:
        async with AsyncSession(bind=conn, join_transaction_mode="create_savepoint") as session:
            session.add(wallet)
            if given["order"] is not None:
                session.add(_order(given["order"], now))
                await session.flush()
                session.add_all(_items(given["order"]))
            session.add(intent)
            await session.flush()
            session.add(_attempt(given["intent"], now))
            await session.commit()
        if not given["wallet"]["balance"]:
            return
        book = Book(conn, now=now)
        opening = Move(bank_account(MAIN_ACCOUNT), wallet_account(WALLET_ID), vnd(given["wallet"]["balance"]))
        await book.post(reference="opening", kind="deposit", moves=[opening])
        await book.flush()

    await store.write(work)


def _wallet(given: dict[str, Any], now: datetime) -> PayWallet:
    return PayWallet(id=WALLET_ID, user_id=USER, currency="VND", status=given["status"], created_at=now, updated_at=now)


def _intent(given: dict[str, Any], now: datetime) -> PayPaymentIntent:
    return PayPaymentIntent(
        intent_id=UUID(given["intent_id"]),
        user_id=USER,
        purpose=given["purpose"],
        amount_minor=given["amount"],
        currency="VND",
        status=given["status"],
        order_id=UUID(given["order_id"]) if "order_id" in given else None,
        order_code=given["order_code"],
        order_code_norm=normalise(given["order_code"]),
        expires_at=datetime.fromisoformat(given["expires_at"]),
        details=given["metadata"],
        created_at=now,
        updated_at=now,
    )


def _attempt(given: dict[str, Any], now: datetime) -> PayPaymentAttempt:
    return PayPaymentAttempt(
        attempt_id=UUID(int=2),
        intent_id=UUID(given["intent_id"]),
        status=given["status"],
        expires_at=datetime.fromisoformat(given["expires_at"]),
        details={},
        created_at=now,
    )


def _order(given: dict[str, Any], now: datetime) -> PaySymbolOrder:
    return PaySymbolOrder(
        order_id=UUID(given["order_id"]),
        user_id=USER,
        total_minor=given["total_amount"],
        status=given["status"],
        payment_method=given["payment_method"],
        created_at=now,
        updated_at=now,
    )


def _items(given: dict[str, Any]) -> list[PaySymbolOrderItem]:
    return [
        PaySymbolOrderItem(
            order_item_id=UUID(int=place),
            order_id=UUID(given["order_id"]),
            position=place,
            symbol_id=item["symbol_id"],
            price_minor=item["price"],
            license_days=item["license_days"],
            auto_renew=False,
            details={},
        )
        for place, item in enumerate(given["items"], start=1)
    ]
