"""Rows as both databases have them: read by their columns' types, compared by what they mean.

JSON travels as its text, so that nothing is lost on the way, and is compared as a value: PostgreSQL writes it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import JSON, Column, Table, Text, cast, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UsageError
from hub.store.types import utc_text

READ_TOGETHER: Final = 500
_MODULUS: Final = 1 << 256


@dataclass(slots=True)
class Digest:
    """What stands for a set of rows: their number, and a sum of their hashes, in which their order does not count."""

    rows: int = 0
    total: int = 0

    def add(self, row: Sequence[object]) -> None:
        self.rows += 1
        meaning = hashlib.sha256(b"".join(_part(value) for value in row)).digest()
        self.total = (self.total + int.from_bytes(meaning, "big")) % _MODULUS

    def __str__(self) -> str:
        return f"{self.total:064x}"


async def read_rows(conn: AsyncConnection, table: Table) -> AsyncIterator[tuple[Any, ...]]:
    """Every row of the table, a few in memory at a time."""
    query = select(*(_readable(column, conn.dialect.name).label(column.name) for column in table.columns))
    if conn.dialect.name == "postgresql":
        # By hand: the driver's own cursor stays open to the transaction's end, and keeps the table from being altered.
        # Named after its table: the driver remembers what a statement answers.
        cursor = f'"hub move {table.name}"'
        await conn.exec_driver_sql(f"DECLARE {cursor} NO SCROLL CURSOR FOR {query.compile(dialect=conn.dialect)}")
        while rows := (await conn.exec_driver_sql(f"FETCH {READ_TOGETHER} FROM {cursor}")).all():
            for row in rows:
                yield tuple(row)
        await conn.exec_driver_sql(f"CLOSE {cursor}")
        return
    found = await conn.stream(query, execution_options={"yield_per": READ_TOGETHER})
    try:
        async for row in found:
            yield tuple(row)
    finally:
        await found.close()


def _readable(column: Column[Any], dialect: str) -> Any:
    if not isinstance(column.type, JSON):
        return column
    return cast(column, Text) if dialect == "postgresql" else type_coerce(column, Text)


def meaning_of(table: Table, row: Sequence[Any]) -> list[object]:
    """The row with its JSON as values."""
    return [
        json.dumps(_plain(json.loads(value, parse_float=Decimal)), sort_keys=True)
        if value is not None and isinstance(column.type, JSON)
        else value
        for column, value in zip(table.columns, row, strict=True)
    ]


def refuse_nul(table: Table, row: Sequence[Any]) -> None:
    """Raise UsageError for a text that PostgreSQL cannot hold."""
    for column, value in zip(table.columns, row, strict=True):
        if isinstance(value, str) and ("\x00" in value or (isinstance(column.type, JSON) and "\\u0000" in value)):
            key = ", ".join(f"{one.name}={row[list(table.columns).index(one)]}" for one in table.primary_key.columns)
            raise UsageError(
                f"{table.name} ({key}): column {column.name} holds the character U+0000, which PostgreSQL cannot store;"
                " nothing was moved"
            )


def _plain(value: Any) -> object:
    """Numbers by their value: 1.50, 1.5 and 15e-1 are one."""
    match value:
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case bool() | str() | None:
            return value
    number = Decimal(value)
    return f"number {number.normalize() if number else 0}"


def _part(value: object) -> bytes:
    """A value with its kind and its length, so that no two rows are written alike."""
    match value:
        case None:
            kind, data = b"0", b""
        case bool():
            kind, data = b"b", str(value).encode()
        case int() | float():
            kind, data = b"n", repr(value).encode()
        case datetime():
            kind, data = b"t", utc_text(value).encode()
        case date():
            kind, data = b"d", value.isoformat().encode()
        case UUID():
            kind, data = b"u", value.bytes
        case bytes() | memoryview():
            kind, data = b"x", bytes(value)
        case _:
            kind, data = b"s", str(value).encode("utf-8", "surrogatepass")
    return kind + len(data).to_bytes(8, "big") + data
