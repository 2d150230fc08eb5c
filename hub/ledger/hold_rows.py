"""The statements by which a book reads its holds and writes what has changed of them, for both databases."""

# ruff: noqa: S608 - these texts are put together from constants
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import Select, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger.account_rows import Record, account_of
from hub.ledger.model import Account, Hold, HoldState
from hub.ledger.tables import accounts, holds
from hub.money import Money
from hub.store.bulk import BulkInsert, unnest
from hub.store.direct import Direct


async def find_hold(conn: AsyncConnection, reference: str) -> Hold | None:
    """The hold as the database has it. What it says is certain only once its held account is locked."""
    row = (await conn.execute(holds_query().where(holds.c.reference == reference))).first()
    return None if row is None else hold_of(row)


async def holder(conn: AsyncConnection, hold_id: int) -> Account:
    """The account whose money this hold set aside."""
    return hold_of((await conn.execute(holds_query().where(holds.c.id == hold_id))).one()).account


def holds_query() -> Select[*tuple[Any, ...]]:
    """Holds with the definition of their account, for ``hold_of``."""
    # Its currency is that of the hold.
    definition = (accounts.c.code, accounts.c.side, accounts.c.running, accounts.c.may_go_negative)
    return select(holds, *definition).join(accounts, accounts.c.id == holds.c.account_id)


def hold_of(row: Record) -> Hold:
    """The hold in a row that carries the columns of ``holds`` and its account's definition."""
    return Hold(
        reference=row.reference,
        account=account_of(row),
        amount=Money(row.amount, row.currency),
        opened_at=row.opened_at,
        expires_at=row.expires_at,
        captured_minor=row.captured,
        released_minor=row.released,
        state=HoldState(row.state),
        closed_at=row.closed_at,
        id=row.id,
        last_entry_id=row.last_entry_id,
    )


async def insert_holds(conn: AsyncConnection, new: Sequence[tuple[Hold, int, int]]) -> None:
    """Write new holds as they begin, open and whole; their entries are written.

    Each with the ids of its account and of its held account.
    """
    rows = [
        (
            hold.id,
            hold.reference,
            account_id,
            held_id,
            hold.amount.amount_minor,
            hold.amount.currency,
            hold.expires_at,
            hold.id,
            hold.opened_at,
        )
        for hold, account_id, held_id in new
    ]
    await _INSERT_HOLDS.run(conn, rows, (0, 0, str(HoldState.OPEN)))


_INSERT_HOLDS = BulkInsert(
    holds,
    (
        "id",
        "reference",
        "account_id",
        "held_account_id",
        "amount",
        "currency",
        "expires_at",
        "last_entry_id",
        "opened_at",
    ),
    same=("captured", "released", "state"),
)


class HoldChange(TypedDict):
    """What is taken from a hold: ``captured`` and ``released`` are what is added to these columns."""

    id: int
    captured: int
    released: int
    state: str
    last_entry_id: int
    closed_at: datetime | None


_HOLD_COLUMNS = {
    "id": "bigint",
    "captured": "bigint",
    "released": "bigint",
    "state": "text",
    "last_entry_id": "bigint",
    "closed_at": "timestamptz",
}


def _change_holds(value: str, source: str) -> str:
    """The update for both databases; ``value`` writes a named value, ``source`` says where the values come from."""
    v = {name: value.format(name) for name in _HOLD_COLUMNS}
    return (
        f"UPDATE holds SET captured = holds.captured + {v['captured']}, released = holds.released + {v['released']},"
        f" state = {v['state']}, last_entry_id = {v['last_entry_id']}, closed_at = {v['closed_at']} {source}"
        f" WHERE holds.id = {v['id']} AND holds.state = 'open'"
        f" AND amount - holds.captured - holds.released >= {v['captured']} + {v['released']}"
    )


_CHANGE_HOLDS_POSTGRESQL = Direct(postgresql=_change_holds("t.{}", f"FROM {unnest(_HOLD_COLUMNS)}"), sqlite="")
_CHANGE_HOLD_SQLITE = text(_change_holds(":{}", "")).bindparams(bindparam("closed_at", type_=holds.c.closed_at.type))


async def change_holds(conn: AsyncConnection, changes: Sequence[HoldChange]) -> int:
    """Take from open holds what their entries took; returns how many were open and had that much left."""
    values = [dict(change) for change in changes]
    if conn.dialect.name == "sqlite":
        return (await conn.execute(_CHANGE_HOLD_SQLITE, values)).rowcount
    return await _CHANGE_HOLDS_POSTGRESQL.run(conn, *([value[name] for value in values] for name in _HOLD_COLUMNS))
