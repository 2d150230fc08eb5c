"""Numbers that only grow: real sequences on PostgreSQL, one counter row each on SQLite (which has one writer)."""

from __future__ import annotations

from sqlalchemy import Column, Sequence, String, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.metadata import metadata
from hub.store.types import BigInt

sequences = Table(
    "sequences",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", BigInt, nullable=False),
    comment="Counters, used on SQLite only",
)


def define_sequence(name: str) -> Sequence:
    """Declare a sequence that ``draw`` can use."""
    return Sequence(name, metadata=metadata)


async def draw(conn: AsyncConnection, name: str, count: int) -> list[int]:
    """The next ``count`` numbers, rising. Gaps may follow: a number of a transaction that failed is not used again."""
    if count == 0:
        return []
    if conn.dialect.name == "postgresql":
        numbers: list[int] = await conn.scalar(_NEXT_VALUES, {"name": name, "count": count})
        return numbers
    last = await conn.scalar(_ADVANCE, {"name": name, "count": count})
    assert last is not None
    return list(range(last - count + 1, last + 1))


# One array and not so many rows, of each of which an object would be made here.
_NEXT_VALUES = text("SELECT array_agg(nextval(CAST(:name AS regclass))) FROM generate_series(1, :count)")
_ADVANCE = text(
    "INSERT INTO sequences (name, value) VALUES (:name, :count)"
    " ON CONFLICT (name) DO UPDATE SET value = value + excluded.value RETURNING value"
)
