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
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger.model import Account, Hold, HoldState, PostedEntry, Side
from hub.ledger.tables import (
    SLOTS_POSTGRESQL,
    SLOTS_SQLITE,
    accounts,
    accounts_seq,
    balances,
    entries_seq,
    holds,
    moves_seq,
)
from hub.money import Money
from hub.store.bulk import BulkInsert, as_parameters, of_row, shortened, unnest
from hub.store.direct import Direct, run_many_on_sqlite
from hub.store.plain import PlainRow
from hub.store.sequences import Wanted, draw, draw_each
from hub.store.types import UtcTime, aware

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


async def touch(
    conn: AsyncConnection, asked: Sequence[Account], now: datetime, *, glance: Sequence[Account] = ()
) -> list[Known]:
    """These accounts, opened with balances of zero where they are not there; running balances are locked.

    Those to ``glance`` at, which have no running balance, are read with them where they are there.

    Of each code once, in the order of the codes: so are they locked, and opened. Two writers who open the same ones
    wait for each other instead of deadlocking. An account that is known otherwise than it was asked for is read as it
    is.
    """
    by_code = {account.code: account for account in (*asked, *glance)}
    if conn.dialect.name != "postgresql":
        return await _touch_sqlite(conn, by_code, asked, now)
    known: list[Known] = []
    missing = list(asked)
    for _ in range(TOUCHES_MAX):
        columns = [[getattr(account, name) for account in (*missing, *glance)] for name in _ASKED]
        for row in await _TOUCH.rows(conn, *columns, now, len(missing)):
            known.append(Known(row[0], _same_or_read(by_code[row[1]], row), row[6]))
        there = {one.account.code for one in known}
        # Another writer has opened it between our look and our insert, and committed: the next look sees it.
        missing, glance = [account for account in missing if account.code not in there], ()
        if not missing:
            return known
    raise AssertionError(f"account {missing[0].code} was opened and is not there")


async def _touch_sqlite(
    conn: AsyncConnection, by_code: dict[str, Account], asked: Sequence[Account], now: datetime
) -> list[Known]:
    known = [
        Known(row[0], _same_or_read(by_code[row[1]], row), row[6])
        for row in await _KNOWN_SQLITE.rows(conn, json.dumps(list(by_code)))
    ]
    there = {one.account.code for one in known}
    absent = [account for account in asked if account.code not in there]
    if not absent:
        return known
    ids = await draw(conn, accounts_seq.name, len(absent))
    await _OPEN_ACCOUNTS.run(
        conn,
        [
            (id_, one.code, one.currency, one.side, one.running, one.may_go_negative)
            for id_, one in zip(ids, absent, strict=True)
        ],
        (now,),
    )
    await _BEGIN_BALANCES.run(conn, [(id_, slot) for id_ in ids for slot in range(SLOTS_SQLITE)], (0, 0))
    return known + [Known(id_, one, 0 if one.running else None) for id_, one in zip(ids, absent, strict=True)]


TOUCHES_MAX = 3
"""The first look, one after others have opened what was not there, and one to spare."""


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


_ASKED = {"code": "text", "currency": "text", "side": "text", "running": "boolean", "may_go_negative": "boolean"}
_COLUMNS = f"a.id, {', '.join(f'a.{name}' for name in _ASKED)}"
_NAMES = ", ".join(_ASKED)
_ARRAYS = ", ".join(as_parameters(_ASKED.values()))

# Each lateral part looks up one row by its key. A plain join lets the planner read every balance once, which it does
# even with sequential scans off (slot = 0 through the primary key). What is there is locked first, then the rest is
# opened: the parts of a WITH run when they are read. Accounts that were not there are nobody else's yet.
TOUCH_POSTGRESQL = f"""
WITH opened AS (
    INSERT INTO accounts (id, {_NAMES}, opened_at)
    SELECT nextval('{accounts_seq.name}'), {_NAMES}, $6::timestamptz FROM (
        SELECT wanted.* FROM unnest({_ARRAYS}) WITH ORDINALITY AS wanted ({_NAMES}, place)
        LEFT JOIN LATERAL (SELECT id FROM accounts WHERE code = wanted.code OFFSET 0) there ON true
        WHERE there.id IS NULL AND place <= $7::bigint ORDER BY place OFFSET 0
    ) new ON CONFLICT (code) DO NOTHING RETURNING id, {_NAMES}
), begun AS (
    INSERT INTO balances (account_id, slot, balance, last_move_id)
    SELECT id, slot, 0, 0
    FROM opened CROSS JOIN LATERAL generate_series(0, CASE WHEN running THEN 0 ELSE {SLOTS_POSTGRESQL - 1} END) slot
)
SELECT {_COLUMNS}, b.balance FROM unnest($1::text[]) AS wanted (code)
CROSS JOIN LATERAL (SELECT * FROM accounts WHERE code = wanted.code OFFSET 0) a
LEFT JOIN LATERAL (
    SELECT balance FROM balances WHERE account_id = CASE WHEN a.running THEN a.id END AND slot = 0 FOR UPDATE
) b ON true
UNION ALL SELECT {_COLUMNS}, CASE WHEN a.running THEN 0 END FROM opened a
""".strip()
_TOUCH = Direct(postgresql=TOUCH_POSTGRESQL, sqlite="")

# Nothing to lock: the one writer has the database to itself.
_KNOWN_SQLITE = Direct(
    postgresql="",
    sqlite=f"SELECT {_COLUMNS}, b.balance FROM json_each(?) w CROSS JOIN accounts a ON a.code = w.value"
    " LEFT JOIN balances b ON a.running AND b.account_id = a.id AND b.slot = 0",
)
_OPEN_ACCOUNTS = BulkInsert(accounts, ("id", *_ASKED), same=("opened_at",))
_BEGIN_BALANCES = BulkInsert(balances, ("account_id", "slot"), same=("balance", "last_move_id"))


async def summed_balance(conn: AsyncConnection, account_id: int) -> int:
    """The sum over an account's slots, as committed or written by this transaction."""
    total = await conn.scalar(select(func.sum(balances.c.balance)).where(balances.c.account_id == account_id))
    return int(total or 0)


async def number(
    conn: AsyncConnection, summed: Sequence[int], slot: int, *, entries: int, moves: int, also: Wanted | None
) -> tuple[list[int], list[int], list[int]]:
    """Rising numbers for so many entries and moves, and of ``also``.

    This slot of the accounts that are ``summed`` is locked before they are drawn.
    """
    more = also or Wanted(entries_seq.name, 0)
    wanted = (Wanted(entries_seq.name, entries), Wanted(moves_seq.name, moves), more)
    if conn.dialect.name != "postgresql":
        first, second, third = await draw_each(conn, *wanted)
    else:
        asked = (value for one in wanted for value in one)
        [drawn] = await _LOCK_AND_DRAW.rows(conn, sorted(summed), slot, *asked)
        first, second, third = (numbers or [] for numbers in drawn)
    return sorted(first), sorted(second), sorted(third)


def _drawn(place: int) -> str:
    # That it names the locks is what makes it wait for them.
    count = f"${place + 1}::integer + 0 * locked.slots"
    return f"(SELECT array_agg(nextval(${place}::text::regclass)) FROM generate_series(1, {count}))"


_LOCK_AND_DRAW = Direct(
    postgresql=f"SELECT {_drawn(3)}, {_drawn(5)}, {_drawn(7)} FROM (SELECT count(*)::integer AS slots FROM ("
    "SELECT 1 FROM balances WHERE account_id = ANY($1::bigint[]) AND slot = $2::smallint ORDER BY account_id FOR UPDATE"
    ") held) locked",
    sqlite="",
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
