"""The statements by which a book writes its entries and their moves, for both databases: as sets."""

# ruff: noqa: S608 - these texts are put together from constants
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger.model import PostedEntry
from hub.store.bulk import as_parameters, of_row, shortened, unnest
from hub.store.direct import Direct, run_many_on_sqlite
from hub.store.types import UtcTime, aware


@dataclass(slots=True)
class EntryRow:
    """An entry ready to be written: ids drawn, accounts resolved."""

    entry: PostedEntry
    reverses_fully: bool
    moves: list[tuple[object, ...]]
    """Rows in the order of ``MOVE_COLUMNS``."""


ENTRY_COLUMNS = {
    "id": "bigint",
    "reference": "text",
    "kind": "text",
    "event_id": "uuid",
    "delivery_id": "bigint",
    "reverses": "bigint",
    "reverses_fully": "boolean",
    "hold_id": "bigint",
    "move_count": "smallint",
    "note": "text",
    "data": "text",
}
MOVE_COLUMNS = {
    "id": "bigint",
    "entry_id": "bigint",
    "position": "smallint",
    "debit_account": "bigint",
    "debit_slot": "smallint",
    "debit_after": "bigint",
    "credit_account": "bigint",
    "credit_slot": "smallint",
    "credit_after": "bigint",
    "amount": "bigint",
    "currency": "text",
}


def _of_row(columns: dict[str, str], first: int) -> str:
    """The values of a row, of which only the first, its id, is surely there for each."""
    arrays = as_parameters(columns.values(), first)
    named = [of_row(f"t.{name}", array) for name, array in zip(columns, arrays, strict=True)]
    named[0] = "t.id"
    return ", ".join(f"({one})::jsonb" if name == "data" else one for name, one in zip(columns, named, strict=True))


# One statement for both: an entry must have its moves when its statement ends, and no move may be without its entry.
_MOVES_FROM = 1 + len(ENTRY_COLUMNS)
_POSTED_AT = f"${_MOVES_FROM + len(MOVE_COLUMNS)}::timestamptz"
_INSERT_POSTGRESQL = Direct(
    postgresql=f"WITH written AS (INSERT INTO entries ({', '.join(ENTRY_COLUMNS)}, posted_at)"
    f" SELECT {_of_row(ENTRY_COLUMNS, 1)}, {_POSTED_AT} FROM {unnest(ENTRY_COLUMNS)})"
    f" INSERT INTO moves ({', '.join(MOVE_COLUMNS)})"
    f" SELECT {_of_row(MOVE_COLUMNS, _MOVES_FROM)} FROM {unnest(MOVE_COLUMNS, _MOVES_FROM)}",
    sqlite="",
)
_INSERT_ENTRIES_SQLITE = (
    f"INSERT INTO entries ({', '.join(ENTRY_COLUMNS)}, posted_at) VALUES ({', '.join('?' * (len(ENTRY_COLUMNS) + 1))})"
)
_INSERT_MOVES_SQLITE = f"INSERT INTO moves ({', '.join(MOVE_COLUMNS)}) VALUES ({', '.join('?' * len(MOVE_COLUMNS))})"


def _entry_tuple(row: EntryRow) -> tuple[object, ...]:
    entry = row.entry
    return (
        entry.id,
        entry.reference,
        entry.kind,
        entry.event_id,
        entry.delivery_id,
        entry.reverses,
        row.reverses_fully,
        entry.hold_id,
        len(entry.moves),
        entry.note,
        None if entry.data is None else json.dumps(entry.data, ensure_ascii=False),
    )


async def insert_entries(conn: AsyncConnection, rows: Sequence[EntryRow], now: datetime) -> None:
    """Write the entries and their moves; the database applies them to the balances."""
    if conn.dialect.name == "sqlite":
        await _insert_entries_sqlite(conn, rows, now)
        return
    # Sorted by the unique column: two writers with the same references must not meet crosswise.
    entry_columns = list(zip(*map(_entry_tuple, sorted(rows, key=lambda row: row.entry.reference)), strict=True))
    move_columns = list(zip(*(move for row in rows for move in row.moves), strict=True))
    columns = [shortened(values) for values in (*entry_columns, *move_columns)]
    await _INSERT_POSTGRESQL.run(conn, *columns, aware(now))


async def _insert_entries_sqlite(conn: AsyncConnection, rows: Sequence[EntryRow], now: datetime) -> None:
    stored_now = UtcTime().process_bind_param(now, conn.dialect)
    event_at = list(ENTRY_COLUMNS).index("event_id")
    values = []
    for row in rows:
        columns = [*_entry_tuple(row), stored_now]
        columns[event_at] = row.entry.event_id.hex if row.entry.event_id else None
        values.append(tuple(columns))
    await run_many_on_sqlite(conn, _INSERT_ENTRIES_SQLITE, values)
    await run_many_on_sqlite(conn, _INSERT_MOVES_SQLITE, [move for row in rows for move in row.moves])
