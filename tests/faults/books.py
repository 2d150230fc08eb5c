"""Looking into a database from outside, with plain SQL and a driver, without anything of the hub."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Any, Protocol, TypeAlias

import asyncpg

Row: TypeAlias = Sequence[Any]
BUSY_S_MAX = 60.0


class Books(Protocol):
    """A read-only look at a database."""

    async def rows(self, query: str) -> list[Row]:
        """The rows of one query, in its order."""
        ...


class SqliteBooks:
    """An SQLite file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def rows(self, query: str) -> list[Row]:
        return list(self._connection.execute(query))


class PostgresBooks:
    """A PostgreSQL database."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def rows(self, query: str) -> list[Row]:
        return [tuple(record.values()) for record in await self._connection.fetch(query)]


@asynccontextmanager
async def reading(address: str) -> AsyncIterator[Books]:
    """Open the database at an SQLAlchemy address, whose driver is of no interest here."""
    scheme, _, rest = address.partition("://")
    if scheme.startswith("sqlite"):
        with closing(sqlite3.connect(rest.removeprefix("/"), timeout=BUSY_S_MAX, isolation_level=None)) as file:
            yield SqliteBooks(file)
        return
    connection = await asyncpg.connect(f"postgresql://{rest}", timeout=BUSY_S_MAX)
    try:
        yield PostgresBooks(connection)
    finally:
        await connection.close()
