"""The statements by which a book reads and writes its tables, for both databases. Everything goes as sets.

On PostgreSQL a list travels as one array, so that the text of a statement, and with it its plan, is always the same.
"""

# ruff: noqa: S608 - these texts are put together from constants
from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypedDict, cast

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    Select,
    String,
    Text,
    any_,
    bindparam,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger.model import Account, Hold, HoldState, PostedEntry, Side
from hub.ledger.tables import accounts, accounts_seq, balances, holds, slots_of
from hub.money import Money
from hub.store.bulk import of_row, shortened
from hub.store.plain import PlainRow, plain_rows
from hub.store.sequences import draw
from hub.store.types import UtcTime
from hub.store.upserts import insert_for

Record: TypeAlias = Row[*tuple[Any, ...]]
"""A row of a query whose columns mypy does not follow."""

_DEFINITION = (
    accounts.c.id,
    accounts.c.code,
    accounts.c.currency,
    accounts.c.side,
    accounts.c.running,
    accounts.c.may_go_negative,
)


@dataclass(slots=True)
class Known:
    """An account as this transaction knows it. ``balance`` is the running one, held by a row lock; else None."""

    id: int
    account: Account
    balance: int | None


def account_of(row: Record) -> Account:
    """The account in a row that carries the columns of its definition."""
    return Account(row.code, row.currency, cast(Side, row.side), bool(row.running), bool(row.may_go_negative))


def in_texts(conn: AsyncConnection, column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """``column`` is one of the texts of the parameter ``name``, bound by ``as_list``."""
    if conn.dialect.name == "postgresql":
        return column == any_(bindparam(name, type_=ARRAY(Text)))
    values = func.json_each(bindparam(name, type_=String)).table_valued("value")
    return column.in_(select(values.c.value))


def as_list(conn: AsyncConnection, values: Iterable[str]) -> object:
    """The value to bind for ``in_texts``."""
    return list(values) if conn.dialect.name == "postgresql" else json.dumps(list(values))


async def load_summed(conn: AsyncConnection, asked: Sequence[Account]) -> list[Known]:
    """Those of these accounts that are there and have no running balance; nothing is locked."""
    query = _SUMMED_POSTGRESQL if conn.dialect.name == "postgresql" else _SUMMED_SQLITE
    by_code = {account.code: account for account in asked}
    rows = plain_rows(conn.dialect.name, await conn.execute(query, {"codes": as_list(conn, by_code)}))
    return [Known(row[0], _same_or_read(by_code[row[1]], row), None) for row in rows]


async def lock_running(conn: AsyncConnection, asked: Sequence[Account]) -> list[Known]:
    """Those of these accounts that are there and running, their balances locked in the given order."""
    query = _RUNNING_POSTGRESQL if conn.dialect.name == "postgresql" else _RUNNING_SQLITE
    by_code = {account.code: account for account in asked}
    rows = plain_rows(conn.dialect.name, await conn.execute(query, {"codes": as_list(conn, by_code)}))
    return [Known(row[0], _same_or_read(by_code[row[1]], row), row[6]) for row in rows]


def _same_or_read(asked: Account, row: PlainRow) -> Account:
    # Nearly always the row says what was asked for, and a new object with its checks is spared.
    _, code, currency, side, running, may_go_negative, *_ = row
    if (currency, side, running, may_go_negative) == (
        asked.currency,
        asked.side,
        asked.running,
        asked.may_go_negative,
    ):
        return asked
    return Account(code, currency, cast(Side, side), bool(running), bool(may_go_negative))


async def find_any(conn: AsyncConnection, codes: Sequence[str]) -> list[Account]:
    """The accounts with these codes, whatever their definition."""
    query = select(*_DEFINITION).where(in_texts(conn, accounts.c.code, "codes"))
    return [account_of(row) for row in await conn.execute(query, {"codes": as_list(conn, codes)})]


_COLUMNS = "a.id, a.code, a.currency, a.side, a.running, a.may_go_negative"

# Each lateral part looks up one row by its key. A plain join lets the planner read every balance once, which it does
# even with sequential scans off (slot = 0 through the primary key). The locks follow the order of the codes.
_LOOKED_UP = (
    "FROM unnest(CAST(:codes AS text[])) AS wanted (code)"
    " CROSS JOIN LATERAL (SELECT * FROM accounts WHERE code = wanted.code OFFSET 0) a"
)
_SUMMED_POSTGRESQL = text(f"SELECT {_COLUMNS} {_LOOKED_UP} WHERE NOT a.running")
_RUNNING_POSTGRESQL = text(
    f"SELECT {_COLUMNS}, b.balance {_LOOKED_UP} CROSS JOIN LATERAL"
    " (SELECT balance FROM balances WHERE account_id = a.id AND slot = 0 FOR UPDATE) b WHERE a.running"
)

# Nothing to lock: the one writer has the database to itself.
_SUMMED_SQLITE = text(
    f"SELECT {_COLUMNS} FROM json_each(:codes) w CROSS JOIN accounts a ON a.code = w.value WHERE NOT a.running"
)
_RUNNING_SQLITE = text(
    f"SELECT {_COLUMNS}, b.balance FROM json_each(:codes) w CROSS JOIN accounts a ON a.code = w.value"
    " CROSS JOIN balances b ON b.account_id = a.id AND b.slot = 0 WHERE a.running"
)


async def open_accounts(conn: AsyncConnection, missing: Sequence[Account], now: datetime) -> None:
    """Create these accounts with their balances at zero; one that another writer created meanwhile is left as it is."""
    dialect = conn.dialect.name
    insert_unless_there = insert_for(dialect, accounts).on_conflict_do_nothing(index_elements=["code"])
    ids = await draw(conn, accounts_seq.name, len(missing))
    values = [
        {
            "id": account_id,
            "code": account.code,
            "currency": account.currency,
            "side": account.side,
            "running": account.running,
            "may_go_negative": account.may_go_negative,
            "opened_at": now,
        }
        # Sorted, so that two writers who open the same accounts wait for each other instead of deadlocking.
        for account_id, account in zip(ids, sorted(missing, key=lambda account: account.code), strict=True)
    ]
    created = await conn.execute(insert_unless_there.returning(accounts.c.id, accounts.c.running), values)
    slots = [
        {"account_id": row.id, "slot": slot, "balance": 0, "last_move_id": 0}
        for row in created
        for slot in range(1 if row.running else slots_of(dialect))
    ]
    if slots:
        await conn.execute(insert(balances), slots)


async def summed_balance(conn: AsyncConnection, account_id: int) -> int:
    """The sum over an account's slots, as committed or written by this transaction."""
    total = await conn.scalar(select(func.sum(balances.c.balance)).where(balances.c.account_id == account_id))
    return int(total or 0)


async def lock_slots(conn: AsyncConnection, account_ids: Sequence[int], slot: int) -> None:
    """Lock this slot of accounts without a running balance, before the ids of their moves are drawn."""
    if conn.dialect.name == "postgresql" and account_ids:
        await conn.execute(_LOCK_SLOTS, {"ids": sorted(account_ids), "slot": slot})


_LOCK_SLOTS = text(
    "SELECT 1 FROM balances WHERE account_id = ANY(CAST(:ids AS bigint[])) AND slot = CAST(:slot AS smallint)"
    " ORDER BY account_id FOR UPDATE"
)


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


def _array(prefix: str, name: str, kind: str) -> str:
    return f"CAST(:{prefix}_{name} AS {kind}[])"


def _unnest(prefix: str, columns: dict[str, str]) -> str:
    arrays = ", ".join(_array(prefix, name, kind) for name, kind in columns.items())
    return f"unnest({arrays}) AS t({', '.join(columns)})"


def _of_row(prefix: str, columns: dict[str, str]) -> str:
    """The values of a row, of which only the first, its id, is surely there for each."""
    named = [of_row(f"t.{name}", _array(prefix, name, kind)) for name, kind in columns.items() if name != "id"]
    return ", ".join(f"CAST({one} AS jsonb)" if ":e_data " in one else one for one in ("t.id", *named))


# One statement for both: an entry must have its moves when its statement ends, and no move may be without its entry.
_INSERT_POSTGRESQL = text(
    f"WITH written AS (INSERT INTO entries ({', '.join(ENTRY_COLUMNS)}, posted_at)"
    f" SELECT {_of_row('e', ENTRY_COLUMNS)}, CAST(:posted_at AS timestamptz) FROM {_unnest('e', ENTRY_COLUMNS)})"
    f" INSERT INTO moves ({', '.join(MOVE_COLUMNS)})"
    f" SELECT {_of_row('m', MOVE_COLUMNS)} FROM {_unnest('m', MOVE_COLUMNS)}"
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
    parameters: dict[str, object] = {"posted_at": now}
    parameters |= {f"e_{name}": shortened(values) for name, values in zip(ENTRY_COLUMNS, entry_columns, strict=True)}
    parameters |= {f"m_{name}": shortened(values) for name, values in zip(MOVE_COLUMNS, move_columns, strict=True)}
    await conn.execute(_INSERT_POSTGRESQL, parameters)


async def _insert_entries_sqlite(conn: AsyncConnection, rows: Sequence[EntryRow], now: datetime) -> None:
    stored_now = UtcTime().process_bind_param(now, conn.dialect)
    event_at = list(ENTRY_COLUMNS).index("event_id")
    values = []
    for row in rows:
        columns = [*_entry_tuple(row), stored_now]
        columns[event_at] = row.entry.event_id.hex if row.entry.event_id else None
        values.append(tuple(columns))
    await conn.exec_driver_sql(_INSERT_ENTRIES_SQLITE, values)
    await conn.exec_driver_sql(_INSERT_MOVES_SQLITE, [move for row in rows for move in row.moves])


async def find_hold(conn: AsyncConnection, reference: str) -> Hold | None:
    """The hold as the database has it. What it says is certain only once its held account is locked."""
    row = (await conn.execute(holds_query().where(holds.c.reference == reference))).first()
    return None if row is None else hold_of(row)


async def holder(conn: AsyncConnection, hold_id: int) -> Account:
    """The account whose money this hold set aside."""
    return hold_of((await conn.execute(holds_query().where(holds.c.id == hold_id))).one()).account


def holds_query() -> Select[*tuple[Any, ...]]:
    """Holds with the definition of their account, for ``hold_of``."""
    definition = [column for column in _DEFINITION if column.name not in ("id", "currency")]
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


async def insert_holds(conn: AsyncConnection, new: Sequence[Hold]) -> None:
    """Write new holds as they begin, open and whole; their entries are written."""
    codes = [code for hold in new for code in (hold.account.code, hold.account.held.code)]
    query = select(accounts.c.code, accounts.c.id).where(in_texts(conn, accounts.c.code, "codes"))
    ids: dict[str, int] = {row.code: row.id for row in await conn.execute(query, {"codes": as_list(conn, codes)})}
    await conn.execute(
        insert(holds),
        [
            {
                "id": hold.id,
                "reference": hold.reference,
                "account_id": ids[hold.account.code],
                "held_account_id": ids[hold.account.held.code],
                "amount": hold.amount.amount_minor,
                "currency": hold.amount.currency,
                "captured": 0,
                "released": 0,
                "state": str(HoldState.OPEN),
                "expires_at": hold.expires_at,
                "last_entry_id": hold.id,
                "opened_at": hold.opened_at,
                "closed_at": None,
            }
            for hold in new
        ],
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


_CHANGE_HOLDS_POSTGRESQL = text(_change_holds("t.{}", f"FROM {_unnest('h', _HOLD_COLUMNS)}"))
_CHANGE_HOLD_SQLITE = text(_change_holds(":{}", "")).bindparams(bindparam("closed_at", type_=holds.c.closed_at.type))


async def change_holds(conn: AsyncConnection, changes: Sequence[HoldChange]) -> int:
    """Take from open holds what their entries took; returns how many were open and had that much left."""
    values = [dict(change) for change in changes]
    if conn.dialect.name == "sqlite":
        return (await conn.execute(_CHANGE_HOLD_SQLITE, values)).rowcount
    arrays = {f"h_{name}": [value[name] for value in values] for name in _HOLD_COLUMNS}
    return (await conn.execute(_CHANGE_HOLDS_POSTGRESQL, arrays)).rowcount
