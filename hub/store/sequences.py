"""Numbers that only grow: real sequences on PostgreSQL, one counter row each on SQLite (which has one writer)."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Column, Sequence, String, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.direct import Direct
from hub.store.metadata import metadata
from hub.store.types import BigInt

sequences = Table(
    "sequences",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", BigInt, nullable=False),
    comment="Counters, used on SQLite only",
)


class Wanted(NamedTuple):
    """So many numbers of this sequence."""

    name: str
    how_many: int


def define_sequence(name: str) -> Sequence:
    """Declare a sequence that ``draw`` can use."""
    return Sequence(name, metadata=metadata)


async def draw(conn: AsyncConnection, name: str, count: int) -> list[int]:
    """The next ``count`` numbers, rising. Gaps may follow: a number of a transaction that failed is not used again."""
    return (await draw_each(conn, Wanted(name, count)))[0]


async def draw_each(conn: AsyncConnection, *wanted: Wanted) -> list[list[int]]:
    """Numbers of several sequences, by one statement where the database has them."""
    if conn.dialect.name == "postgresql":
        asked = [one for one in wanted if one.how_many]
        if not asked:
            return [[] for _ in wanted]
        rows = iter(await _NEXT_VALUES[len(asked)].rows(conn, *(value for one in asked for value in one)))
        drawn = iter(next(rows))
        return [next(drawn) if count else [] for _, count in wanted]
    return [await _advance(conn, name, count) for name, count in wanted]


async def _advance(conn: AsyncConnection, name: str, count: int) -> list[int]:
    if count == 0:
        return []
    [[last]] = await _ADVANCE.rows(conn, name, count)
    return list(range(last - count + 1, last + 1))


def _next_values(sequences: int) -> Direct:
    # One array and not so many rows, of each of which an object would be made here.
    arrays = (
        f"(SELECT array_agg(nextval(${number}::text::regclass)) FROM generate_series(1, ${number + 1}::integer))"  # noqa: S608
        for number in range(1, 2 * sequences + 1, 2)
    )
    return Direct(postgresql=f"SELECT {', '.join(arrays)}", sqlite="")


SEQUENCES_MAX = 4
"""So many may be drawn from at once."""
_NEXT_VALUES = {number: _next_values(number) for number in range(1, SEQUENCES_MAX + 1)}
_ADVANCE = Direct(
    postgresql="",
    sqlite="INSERT INTO sequences (name, value) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value RETURNING value",
)
