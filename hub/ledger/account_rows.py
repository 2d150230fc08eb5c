"""The statements by which a book opens, locks and sums accounts, and numbers what it writes, for both databases.

On PostgreSQL a list travels as one array, so that the text of a statement, and with it its plan, is always the same.
"""

# ruff: noqa: S608 - these texts are put together from constants
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, cast

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger.model import Account, Side
from hub.ledger.tables import (
    SLOTS_POSTGRESQL,
    SLOTS_SQLITE,
    accounts,
    accounts_seq,
    balances,
    entries_seq,
    moves_seq,
)
from hub.store.bulk import BulkInsert, as_parameters
from hub.store.direct import Direct
from hub.store.plain import PlainRow
from hub.store.sequences import Wanted, draw, draw_each

Record: TypeAlias = Row[*tuple[Any, ...]]
"""A row of a query whose columns mypy does not follow."""


@dataclass(slots=True)
class Known:
    """An account as this transaction knows it. ``balance`` is the running one, held by a row lock; else None."""

    id: int
    account: Account
    balance: int | None


def account_of(row: Record) -> Account:
    """The account in a row that carries the columns of its definition."""
    return Account(row.code, row.currency, cast(Side, row.side), bool(row.running), bool(row.may_go_negative))


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


async def draw_numbers(
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
