"""Accounts and short ways that the ledger's tests share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger import Account, Book, Move
from hub.ledger.read import find_account
from hub.ledger.verify import verify
from hub.money import Money
from hub.store.store import Store

T = TypeVar("T")

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
BANK = Account("bank:clearing", "VND", "debit", running=False)
SALES = Account("sales", "VND", "credit", running=False)
WALLET = Account("wallet:1", "VND", "credit")
OTHER = Account("wallet:2", "VND", "credit")
CREDIT_LINE = Account("line:1", "VND", "credit", may_go_negative=True)
YEN = Account("campaign:yen", "JPY", "debit", may_go_negative=True)


def vnd(amount: int) -> Money:
    return Money(amount, "VND")


async def booked(store: Store, work: Callable[[Book], Awaitable[T]], *, slot: int = 0, now: datetime = NOW) -> T:
    """Run ``work`` with a book in one transaction and commit; after a deadlock with its accounts locked first."""
    known: tuple[Account, ...] = ()

    async def run(conn: AsyncConnection) -> T:
        nonlocal known
        book = Book(conn, now=now, slot=slot)
        await book.lock(known)
        try:
            result = await work(book)
            await book.flush()
        finally:
            known = book.touched
        return result

    return await store.write(run)


async def top_up(store: Store, account: Account, amount: int, *, reference: str = "") -> None:
    name = reference or f"top-up:{account.code}:{amount}"
    await booked(store, lambda book: book.post(reference=name, kind="top_up", moves=[Move(BANK, account, vnd(amount))]))


async def balance_of(store: Store, account: Account) -> int:
    async with store.reading() as conn:
        found = await find_account(conn, account.code)
    return found.balance.amount_minor if found else 0


async def assert_sound(store: Store) -> None:
    """The books prove right from their moves alone."""
    async with store.reading() as conn:
        assert await verify(conn) == []
