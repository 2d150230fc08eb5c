"""Plain SQL against the books, as somebody with a database prompt would write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.store import Store

TABLES = ("accounts", "balances", "entries", "moves", "holds")
_POSTED = {"sqlite": "'2026-11-21T09:30:00.000000Z'", "postgresql": "now()"}


@dataclass(frozen=True)
class RawMove:
    """A move as written by hand; accounts by code, ``after`` and the rest as they come."""

    debit: str
    credit: str
    amount: object
    debit_after: object = None
    credit_after: object = None
    currency: str = "VND"
    slot: int = 0
    id: object = None
    position: int | None = None


async def everything(store: Store) -> list[list[tuple[object, ...]]]:
    """All rows of the books."""
    async with store.reading() as conn:
        return [sorted(map(tuple, await conn.execute(text(f"SELECT * FROM {table}"))), key=str) for table in TABLES]


async def execute(store: Store, statement: str, parameters: dict[str, object] | None = None) -> None:
    async def work(conn: AsyncConnection) -> None:
        await conn.execute(text(statement), parameters or {})

    await store.write(work)


def _move_values(entry_id: str, number: int, move: RawMove) -> str:
    def account(code: str) -> str:
        return f"coalesce((SELECT id FROM accounts WHERE code = '{code}'), 987654)"

    def value(number: object) -> str:
        return "CAST(NULL AS bigint)" if number is None else str(number)

    debit_slot = move.slot if move.debit_after is None else 0
    credit_slot = move.slot if move.credit_after is None else 0
    move_id = f"(SELECT coalesce(max(id), 0) + {number} FROM moves)" if move.id is None else str(move.id)
    return (
        f"{move_id}, {entry_id}, {move.position or number}, {account(move.debit)}, {debit_slot},"
        f" {value(move.debit_after)}, {account(move.credit)}, {credit_slot}, {value(move.credit_after)},"
        f" {move.amount}, '{move.currency}'"
    )


async def raw_entry(
    conn: AsyncConnection,
    moves: Sequence[RawMove],
    *,
    move_count: int | None = None,
    reverses: str = "NULL",
    hold_id: str = "NULL",
    or_what: str = "",
) -> None:
    """Insert an entry and its moves, by one statement where the database wants that."""
    dialect = conn.dialect.name
    entry_id = int(await conn.scalar(text("SELECT coalesce(max(id), 0) + 1 FROM entries")) or 1)
    count = len(moves) if move_count is None else move_count
    entry = (
        "INSERT INTO entries (id, reference, kind, reverses, reverses_fully, hold_id, move_count, note, posted_at)"
        f" VALUES ({entry_id}, 'raw:{entry_id}', 'raw', {reverses}, false, {hold_id}, {count}, '', {_POSTED[dialect]})"
    )
    rows = [f"SELECT {_move_values(str(entry_id), number, move)}" for number, move in enumerate(moves, start=1)]
    if dialect == "postgresql":
        await conn.execute(text(f"WITH e AS ({entry}) INSERT INTO moves {' UNION ALL '.join(rows)}"))
        return
    await conn.execute(text(entry))
    for row in rows:
        # Ids count from the moves that are there, so each row is one further.
        await conn.execute(
            text(f"INSERT {or_what} INTO moves {row}".replace(f"+ {rows.index(row) + 1} FROM", "+ 1 FROM"))
        )
