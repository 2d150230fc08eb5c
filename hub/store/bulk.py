"""Many rows in one statement whose text never changes: the hot path's way to write.

On PostgreSQL each column travels as one array (``unnest``), so one statement and one plan serve any number of rows. On
SQLite the driver runs one prepared statement for each row. The texts are put together once, at import, and pass by
SQLAlchemy's compiler, which costs more per row than the database does; connections, transactions, events and errors
are SQLAlchemy's all the same.
"""

# ruff: noqa: S608 - these texts are put together from the names of tables and columns
from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    CursorResult,
    Float,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Uuid,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from hub.store.types import UtcTime, refuse_naive, utc_text

Record: TypeAlias = tuple[Any, ...]
"""One row: values in the order of the statement's columns."""


class BulkInsert:
    """An insert of any number of rows, one of which is a tuple in the order of ``columns``.

    ``conflict`` says what happens where a row is there already, ``returning`` what is answered; the latter only on
    PostgreSQL, since SQLite answers nothing for many rows.
    """

    def __init__(self, table: Table, columns: Sequence[str], *, conflict: str = "", returning: str = "") -> None:
        self._columns = _Columns([table.c[name] for name in columns])
        names = ", ".join(f'"{name}"' for name in columns)
        into = f'INSERT INTO "{table.name}" ({names})'
        self._sqlite = f"{into} VALUES ({', '.join('?' * len(columns))}) {conflict}"
        answer = f"RETURNING {returning}" if returning else ""
        self._postgresql = f"{into} SELECT {self._columns.selected} FROM {self._columns.unnested} {conflict} {answer}"

    async def run(self, conn: AsyncConnection, rows: Sequence[Record]) -> CursorResult[Any]:
        """Insert these rows in their order; there is at least one."""
        if conn.dialect.name == "postgresql":
            return await conn.exec_driver_sql(self._postgresql, self._columns.as_arrays(rows))
        return await conn.exec_driver_sql(self._sqlite, self._columns.as_records(rows))


class BulkUpdate:
    """An update of rows by their key, each with values of its own: a tuple of the key and the new values."""

    def __init__(self, table: Table, key: str, columns: Sequence[str]) -> None:
        self._columns = _Columns([table.c[name] for name in (key, *columns)])
        target = f'UPDATE "{table.name}" SET'
        # The key is numbered, as it comes first in the row and last in the statement.
        marks = ", ".join(f'"{name}" = ?{number}' for number, name in enumerate(columns, start=2))
        self._sqlite = f'{target} {marks} WHERE "{key}" = ?1'
        values = ", ".join(f'"{name}" = {value}' for name, value in zip(columns, self._columns.values[1:], strict=True))
        source = self._columns.unnested
        self._postgresql = f'{target} {values} FROM {source} WHERE "{table.name}"."{key}" = "new"."{key}"'

    async def run(self, conn: AsyncConnection, rows: Sequence[Record]) -> int:
        """Update these rows, at least one; answers how many there were."""
        if conn.dialect.name == "postgresql":
            return (await conn.exec_driver_sql(self._postgresql, self._columns.as_arrays(rows))).rowcount
        return (await conn.exec_driver_sql(self._sqlite, self._columns.as_records(rows))).rowcount


class _Columns:
    """The columns of a statement, and how their values are handed to each driver."""

    def __init__(self, columns: Sequence[Column[Any]]) -> None:
        names = [f'"{column.name}"' for column in columns]
        kinds = [_array_of(column.type) for column in columns]
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, start=1))
        self.unnested = f'unnest({arrays}) AS "new" ({", ".join(names)})'
        self.values = [
            f'"new".{name}::jsonb' if isinstance(column.type, JSON) else f'"new".{name}'
            for name, column in zip(names, columns, strict=True)
        ]
        self.selected = ", ".join(self.values)
        self._json = [place for place, column in enumerate(columns) if isinstance(column.type, JSON)]
        self._times = [place for place, column in enumerate(columns) if isinstance(column.type, UtcTime)]
        self._for_sqlite = [
            (place, convert)
            for place, column in enumerate(columns)
            if (convert := _for_sqlite(column.type)) is not None
        ]

    def as_arrays(self, rows: Sequence[Record]) -> tuple[Any, ...]:
        arrays: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for place in self._json:
            arrays[place] = [None if value is None else json.dumps(value) for value in arrays[place]]
        for place in self._times:
            # The driver would take a time without a zone for one of this machine's.
            for value in arrays[place]:
                if value is not None:
                    refuse_naive(value)
        return tuple(arrays)

    def as_records(self, rows: Sequence[Record]) -> list[tuple[Any, ...]]:
        columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for place, convert in self._for_sqlite:
            columns[place] = [None if value is None else convert(value) for value in columns[place]]
        return list(zip(*columns, strict=True))


def _array_of(kind: TypeEngine[Any]) -> str:
    """PostgreSQL's name of a type. A text of bounded length goes as text: a cast to the bound would cut it short."""
    for known, name in _KINDS:
        if isinstance(kind, known):
            return name
    raise TypeError(f"no array is known for the column type {kind!r}")


# From the narrowest: a SmallInteger is an Integer to Python as well.
_KINDS: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (SmallInteger, "smallint"),
    (BigInteger, "bigint"),
    (Integer, "integer"),
    (Boolean, "boolean"),
    (Float, "double precision"),
    (LargeBinary, "bytea"),
    (Uuid, "uuid"),
    (UtcTime, "timestamptz"),
    (JSON, "text"),
    (String, "text"),
)


def _for_sqlite(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    if isinstance(kind, Uuid):
        return lambda value: value.hex
    if isinstance(kind, UtcTime):
        return utc_text
    return json.dumps if isinstance(kind, JSON) else None
