"""A SELECT of SQLAlchemy's on the hot path: compiled once for each database, then run by the driver itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.direct import rows_of
from hub.store.plain import PlainRow, plain_rows


class Query:
    """Written in SQLAlchemy's words for each ``dialect``, with named parameters whose values are given at each run.

    Of numbers, texts, booleans, UUIDs, times with a zone and bytes alone, which PostgreSQL's driver takes and gives as
    they are; SQLite keeps some of them as something else, and goes SQLAlchemy's way.
    """

    def __init__(self, build: Callable[[str], Select[Any]]) -> None:
        self._build = build

    async def rows(self, conn: AsyncConnection, values: Mapping[str, Any]) -> Sequence[PlainRow]:
        """All rows. Raises DBAPIError."""
        if conn.dialect.name != "postgresql":
            return plain_rows(conn.dialect.name, await conn.execute(self._for_sqlite, values))
        text, places, fixed = self._for_postgresql
        return await rows_of(conn, text, [values[name] if name in values else fixed[name] for name in places])

    @cached_property
    def _for_sqlite(self) -> Select[Any]:
        return self._build("sqlite")

    @cached_property
    def _for_postgresql(self) -> tuple[str, Sequence[str], Mapping[str, Any]]:
        """The text, the names of its numbered parameters, and the values of those that are part of the query."""
        compiled = self._build("postgresql").compile(dialect=PGDialect_asyncpg())  # type: ignore[no-untyped-call]
        return compiled.string, tuple(compiled.positiontup or ()), compiled.params
