"""Questions to the books: accounts with their balances, entries with their postings, holds. Nothing is locked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import CompoundSelect, Select, func, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger.account_rows import Record, account_of
from hub.ledger.history import find_entry, load_entries
from hub.ledger.hold_rows import hold_of, holds_query
from hub.ledger.model import Account, Hold, HoldState, PostedEntry
from hub.ledger.tables import accounts, balances, entries, holds, moves
from hub.money import Money

PAGE = 100
PAGE_MAX = 1000

Query: TypeAlias = Select[*tuple[Any, ...]]

__all__ = ["AccountBalance", "due_holds", "find_account", "find_entry", "list_accounts", "list_entries", "list_holds"]


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """An account and its balance: the running one, or the sum of its slots."""

    account: Account
    balance: Money
    opened_at: datetime


async def list_accounts(
    conn: AsyncConnection, *, prefix: str = "", currency: str | None = None, after: str = "", limit: int = PAGE
) -> list[AccountBalance]:
    """Accounts by code, those after the code ``after``; ``prefix`` is the beginning of the code."""
    query = _with_balances().order_by(accounts.c.code).limit(_bounded(limit))
    if prefix:
        query = query.where(accounts.c.code.startswith(prefix, autoescape=True))
    if currency is not None:
        query = query.where(accounts.c.currency == currency)
    if after:
        query = query.where(accounts.c.code > after)
    return [_account_balance(row) for row in await conn.execute(query)]


async def find_account(conn: AsyncConnection, code: str) -> AccountBalance | None:
    """One account with its balance."""
    row = (await conn.execute(_with_balances().where(accounts.c.code == code))).first()
    return None if row is None else _account_balance(row)


def _with_balances() -> Query:
    slots = select(func.coalesce(func.sum(balances.c.balance), 0)).where(balances.c.account_id == accounts.c.id)
    return select(accounts, slots.scalar_subquery().label("total"))


def _account_balance(row: Record) -> AccountBalance:
    return AccountBalance(account_of(row), Money(int(row.total), row.currency), row.opened_at)


async def list_entries(
    conn: AsyncConnection,
    *,
    account: str | None = None,
    event_id: UUID | None = None,
    kind: str | None = None,
    hold: str | None = None,
    reversing: int | None = None,
    before_id: int | None = None,
    limit: int = PAGE,
) -> list[PostedEntry]:
    """Entries, newest first, those older than ``before_id``, that meet every condition given.

    ``account`` is a code, ``hold`` the reference of a hold, ``reversing`` the id of the entry that they give back.
    One entry by its reference: ``find_entry``.
    """
    query = select(entries).order_by(entries.c.id.desc()).limit(_bounded(limit))
    if before_id is not None:
        query = query.where(entries.c.id < before_id)
    if account is not None:
        account_id = await conn.scalar(select(accounts.c.id).where(accounts.c.code == account))
        # With other conditions the newest of the account are not enough: look at all of them.
        is_alone = (event_id, kind, hold, reversing) == (None, None, None, None)
        bound = _bounded(limit) if is_alone else None
        query = query.where(entries.c.id.in_(_entries_of(account_id or 0, before_id, bound)))
    if event_id is not None:
        query = query.where(entries.c.event_id == event_id)
    if kind is not None:
        query = query.where(entries.c.kind == kind)
    if hold is not None:
        query = query.where(entries.c.hold_id == select(holds.c.id).where(holds.c.reference == hold).scalar_subquery())
    if reversing is not None:
        query = query.where(entries.c.reverses == reversing)
    return await load_entries(conn, query)


def _entries_of(account_id: int, before_id: int | None, limit: int | None) -> CompoundSelect[*tuple[Any, ...]]:
    """The newest entries that move this account, read from the end of its two indexes and no further than ``limit``."""
    sides = []
    for side in (moves.c.debit_account, moves.c.credit_account):
        newest = select(moves.c.entry_id).where(side == account_id).order_by(moves.c.entry_id.desc())
        newest = newest if before_id is None else newest.where(moves.c.entry_id < before_id)
        sides.append(select(newest.distinct().limit(limit).subquery().c.entry_id))
    return union(*sides)


async def list_holds(
    conn: AsyncConnection,
    *,
    account: str | None = None,
    state: HoldState | None = None,
    before_id: int | None = None,
    limit: int = PAGE,
) -> list[Hold]:
    """Holds, newest first, those older than ``before_id``."""
    query = holds_query().order_by(holds.c.id.desc()).limit(_bounded(limit))
    if before_id is not None:
        query = query.where(holds.c.id < before_id)
    if account is not None:
        query = query.where(accounts.c.code == account)
    if state is not None:
        query = query.where(holds.c.state == str(state))
    return [hold_of(row) for row in await conn.execute(query)]


async def due_holds(conn: AsyncConnection, now: datetime, *, limit: int = PAGE) -> list[str]:
    """References of open holds whose expiry has come, the longest overdue first; ``Book.expire`` closes them."""
    query = select(holds.c.reference).where(holds.c.state == "open", holds.c.expires_at <= now)
    return list(await conn.scalars(query.order_by(holds.c.expires_at).limit(_bounded(limit))))


def _bounded(limit: int) -> int:
    return max(1, min(limit, PAGE_MAX))
