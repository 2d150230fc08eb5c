"""Many rows in one statement whose text never changes: the hot path's way to write.

On PostgreSQL each column travels as one array (``unnest``), so one statement and one plan serve any number of rows; one
that says the same in all rows is an array of one element, since the driver's work is by the element. On
SQLite the driver runs one prepared statement for each row. The texts are put together once, at import, and pass by
SQLAlchemy's compiler, which costs more per row than the database does; connections, transactions, events and errors
are SQLAlchemy's all the same.
"""

# ruff: noqa: S608 - these texts are put together from the names of tables and columns
from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, TypeAlias

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
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

from hub.store.direct import rows_of, run_many_on_sqlite, run_on_postgresql
from hub.store.plain import PlainRow
from hub.store.types import UtcTime, aware, utc_text

Record: TypeAlias = tuple[Any, ...]
"""One row: values in the order of the statement's columns."""


class BulkInsert:
    """An insert of any number of rows, one of which is a tuple in the order of ``columns``.

    ``same`` are columns whose values all rows of one run share: each travels once. ``conflict`` says what happens where
    a row is there already, ``returning`` what is answered; the latter only on PostgreSQL, since SQLite answers nothing
    for many rows.
    """

    def __init__(
        self,
        table: Table,
        columns: Sequence[str],
        *,
        same: Sequence[str] = (),
        conflict: str = "",
        returning: str = "",
    ) -> None:
        self._columns = _Columns([table.c[name] for name in columns], [table.c[name] for name in same])
        into = f'INSERT INTO "{table.name}" ({", ".join(_quoted([*columns, *same]))})'
        marks = ", ".join("?" * (len(columns) + len(same)))
        self._sqlite = f"{into} VALUES ({marks}) {conflict}"
        answer = f"RETURNING {returning}" if returning else ""
        selected = ", ".join(self._columns.values)
        self._postgresql = f"{into} SELECT {selected} FROM {self._columns.unnested} {conflict} {answer}"

    async def run(self, conn: AsyncConnection, rows: Sequence[Record], same: Record = ()) -> Sequence[PlainRow]:
        """Insert these rows in their order; there is at least one. Answers what is ``returning``."""
        if conn.dialect.name == "postgresql":
            return await rows_of(conn, self._postgresql, self._columns.as_arrays(rows, same))
        records = self._columns.as_records(rows, same)
        if len(records) == 1:
            # By ``execute``, which knows statements that were slow; ``executemany`` does not.
            await rows_of(conn, self._sqlite, records[0])
        else:
            await run_many_on_sqlite(conn, self._sqlite, records)
        return ()


class BulkUpdate:
    """An update of rows by their key: a tuple is a key and its row's values, ``same`` are what all rows share."""

    def __init__(self, table: Table, key: str, columns: Sequence[str], *, same: Sequence[str] = ()) -> None:
        self._columns = _Columns([table.c[name] for name in (key, *columns)], [table.c[name] for name in same])
        target, names = f'UPDATE "{table.name}" SET', _quoted([*columns, *same])
        # Numbered, as the key comes first in the row and last in the statement.
        marks = ", ".join(f"{name} = ?{number}" for number, name in enumerate(names, start=2))
        self._sqlite = f'{target} {marks} WHERE "{key}" = ?1'
        values = ", ".join(f"{name} = {value}" for name, value in zip(names, self._columns.values[1:], strict=True))
        source = self._columns.unnested
        self._postgresql = f'{target} {values} FROM {source} WHERE "{table.name}"."{key}" = "new"."{key}"'

    async def run(self, conn: AsyncConnection, rows: Sequence[Record], same: Record = ()) -> int:
        """Update these rows, at least one; answers how many there were."""
        if conn.dialect.name == "postgresql":
            return await run_on_postgresql(conn, self._postgresql, self._columns.as_arrays(rows, same))
        return await run_many_on_sqlite(conn, self._sqlite, self._columns.as_records(rows, same))


def _quoted(names: Sequence[str]) -> list[str]:
    # ``key`` and ``after`` are words of SQL as well.
    return [f'"{name}"' for name in names]


class _Columns:
    """The columns of a statement, and how their values are handed to each driver."""

    def __init__(self, columns: Sequence[Column[Any]], same: Sequence[Column[Any]]) -> None:
        names = _quoted([column.name for column in columns])
        kinds = [_kind_of(column.type) for column in (*columns, *same)]
        arrays = as_parameters(kinds[: len(columns)])
        scalars = [f"${number}::{kind}" for number, kind in enumerate(kinds[len(columns) :], start=len(columns) + 1)]
        self.unnested = f'unnest({", ".join(arrays)}) AS "new" ({", ".join(names)})'
        values = [of_row(f'"new".{name}', array) for name, array in zip(names, arrays, strict=True)]
        # The first column counts the rows, and is always there as a whole.
        values[:1] = [f'"new".{names[0]}']
        self.values = [
            f"{value}::jsonb" if isinstance(column.type, JSON) else value
            for column, value in zip((*columns, *same), [*values, *scalars], strict=True)
        ]
        self._for_postgresql = _conversions(columns, _for_postgresql)
        self._same_for_postgresql = _conversions(same, _for_postgresql)
        self._for_sqlite = _conversions(columns, _for_sqlite)
        self._same_for_sqlite = _conversions(same, _for_sqlite)

    def as_arrays(self, rows: Sequence[Record], same: Record) -> Record:
        arrays: list[Sequence[Any]] = list(zip(*rows, strict=True))
        for place, convert in self._for_postgresql:
            arrays[place] = [None if value is None else convert(value) for value in arrays[place]]
        arrays[1:] = map(shortened, arrays[1:])
        scalars = list(same)
        for place, convert in self._same_for_postgresql:
            scalars[place] = None if scalars[place] is None else convert(scalars[place])
        return (*arrays, *scalars)

    def as_records(self, rows: Sequence[Record], same: Record) -> list[Record]:
        columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
        for place, convert in self._for_sqlite:
            columns[place] = [None if value is None else convert(value) for value in columns[place]]
        scalars = list(same)
        for place, convert in self._same_for_sqlite:
            scalars[place] = None if scalars[place] is None else convert(scalars[place])
        return list(zip(*columns, *map(repeat, scalars), strict=False))


def shortened(column: Sequence[Any]) -> Sequence[Any]:
    """The column, or its first value alone where all rows, of which there is at least one, say the same."""
    # Most columns differ at their ends already.
    return column[:1] if column[-1] == column[0] and column.count(column[0]) == len(column) else column


def as_parameters(kinds: Iterable[str], first: int = 1) -> list[str]:
    """SQL for columns of these types that are handed over as arrays, the parameters from the number ``first`` on."""
    return [f"${number}::{kind}[]" for number, kind in enumerate(kinds, start=first)]


def unnest(kinds: Mapping[str, str], first: int = 1) -> str:
    """SQL for a table ``t`` of columns, of which ``kinds`` says the type, that are handed over as arrays."""
    return f"unnest({', '.join(as_parameters(kinds.values(), first))}) AS t({', '.join(kinds)})"


def of_row(value: str, array: str) -> str:
    """SQL for the value of a row, out of an array that may be ``shortened``."""
    return f"CASE cardinality({array}) WHEN 1 THEN ({array})[1] ELSE {value} END"


_Conversion: TypeAlias = Callable[[Any], Any]


def _conversions(
    columns: Sequence[Column[Any]], of_type: Callable[[TypeEngine[Any]], _Conversion | None]
) -> list[tuple[int, _Conversion]]:
    """The places of the columns whose values a driver cannot take as they are, and what makes them so."""
    found = [(place, of_type(column.type)) for place, column in enumerate(columns)]
    return [(place, convert) for place, convert in found if convert is not None]


def _for_postgresql(kind: TypeEngine[Any]) -> _Conversion | None:
    if isinstance(kind, UtcTime):
        # The driver would take a time without a zone for one of this machine's.
        return aware
    return _json_text if isinstance(kind, JSON) else None


def _for_sqlite(kind: TypeEngine[Any]) -> _Conversion | None:
    if isinstance(kind, Uuid):
        return attrgetter("hex")
    if isinstance(kind, UtcTime):
        return utc_text
    return _json_text if isinstance(kind, JSON) else None


def _json_text(value: Any) -> str:
    # Most objects are headers, and most messages have none.
    return json.dumps(value) if value != {} else "{}"


def _kind_of(kind: TypeEngine[Any]) -> str:
    """PostgreSQL's name of a type. A text of bounded length goes as text: a cast to the bound would cut it short."""
    for known, name in _KINDS:
        if isinstance(kind, known):
            return name
    raise TypeError(f"no name is known for the column type {kind!r}")


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
