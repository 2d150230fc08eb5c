"""What SQLAlchemy takes for SQLite's asynchronous driver: connections and cursors around ``inline.Driver``."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

import aiosqlite
from sqlalchemy.connectors.asyncio import AsyncAdapt_terminate
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_dbapi
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.util.concurrency import await_

from hub.store import inline
from hub.store.inline import Answer, Driver


class Module(AsyncAdapt_aiosqlite_dbapi):
    """What SQLAlchemy takes for the asynchronous driver."""

    def __init__(self, pragmas: Sequence[str]) -> None:
        super().__init__(aiosqlite, cast(Any, sqlite3))
        self._pragmas = pragmas

    def connect(self, database: str, *, timeout: float, **options: Any) -> Any:
        """Open a connection and set it up."""
        driver = Driver(inline.open_file(database, **options), busy_timeout_s=timeout)
        try:
            await_(driver.set_up(self._pragmas))
        except BaseException:
            driver.stop()
            raise
        return Connection(driver)


class Connection(AsyncAdapt_terminate, AdaptedConnection):
    """The connection as SQLAlchemy uses it."""

    __slots__ = ()

    _connection: Driver  # type: ignore[assignment]

    def __init__(self, driver: Driver) -> None:
        self._connection = driver

    @property
    def isolation_level(self) -> None:
        """SQLAlchemy asks whether the driver begins by itself."""
        return

    def cursor(self, server_side: bool = False) -> Cursor:
        """One for a single statement."""
        return StreamCursor(self._connection) if server_side else Cursor(self._connection)

    def begin(self, statement: str) -> None:
        """Begin a transaction."""
        await_(self._connection.begin(statement))

    def commit(self) -> None:
        """End it."""
        await_(self._connection.commit())

    def rollback(self) -> None:
        """Undo it."""
        await_(self._connection.rollback())

    def close(self) -> None:
        """Close the connection."""
        await_(self._connection.close())

    def create_function(self, name: str, arguments: int, function: Callable[..., Any], **options: Any) -> None:
        """Make a function known to SQL."""
        self._connection._file.create_function(name, arguments, function, **options)

    def _handle_exception(self, error: Exception) -> NoReturn:
        raise error

    async def _terminate_graceful_close(self) -> None:
        await self._connection.close()

    def _terminate_force_close(self) -> None:
        self._connection.stop()


class Cursor:
    """A statement and its rows, which are all there when it has run."""

    __slots__ = ("_driver", "_rows", "arraysize", "description", "lastrowid", "rowcount")

    server_side = False

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._rows: deque[Any] = deque()
        self.arraysize = 1
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, operation: str, parameters: Any = None) -> None:
        """Run it."""
        self._take(await_(self._driver.execute(operation, () if parameters is None else parameters)))

    def executemany(self, operation: str, parameters: Any) -> None:
        """Run it for each of them."""
        self._take(await_(self._driver.executemany(operation, parameters)))

    def _take(self, answer: Answer) -> None:
        rows, self.rowcount, self.description, self.lastrowid = answer
        self._rows = deque(rows)

    def fetchone(self) -> Any:
        """The next row, or None."""
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows."""
        rows = self._rows
        return [rows.popleft() for _ in range(min(self.arraysize if size is None else size, len(rows)))]

    def fetchall(self) -> list[Any]:
        """All other rows."""
        rows, self._rows = self._rows, deque()
        return list(rows)

    def setinputsizes(self, *_sizes: Any) -> None:
        """SQLite has none."""

    def close(self) -> None:
        """Forget the rows."""
        self._rows.clear()

    async def _async_soft_close(self) -> None:
        return


class StreamCursor(Cursor):
    """A statement whose rows are taken a few at a time, each time in the thread: nobody knows how far the next is."""

    __slots__ = ("_cursor",)

    server_side = True

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._cursor: sqlite3.Cursor | None = None

    def execute(self, operation: str, parameters: Any = None) -> None:
        """Run it as far as its first row."""
        values = () if parameters is None else parameters
        self._cursor = cursor = await_(self._driver.stream(operation, values))
        self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid

    def fetchone(self) -> Any:
        """The next row, or None."""
        return await_(self._driver.apart(lambda _: self._opened.fetchone()))

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows."""
        count = self.arraysize if size is None else size
        return await_(self._driver.apart(lambda _: self._opened.fetchmany(count)))

    def fetchall(self) -> list[Any]:
        """All other rows."""
        return await_(self._driver.apart(lambda _: self._opened.fetchall()))

    def close(self) -> None:
        """Give the statement up."""
        if self._cursor is not None:
            cursor, self._cursor = self._cursor, None
            await_(self._driver.end_stream(cursor))

    @property
    def _opened(self) -> sqlite3.Cursor:
        assert self._cursor is not None, "it has run, and is not closed"
        return self._cursor
