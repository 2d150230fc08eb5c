"""A statement of the hot path as its driver takes it, past SQLAlchemy's compiler, cursors and results.

What SQLAlchemy adds to a small statement costs more than the driver and the database together, and a small batch has
dozens of them. Connections, transactions, events and errors are SQLAlchemy's all the same: whoever listens to its
engines hears of these statements, and what the driver raises is raised as its DBAPIError, never with a parameter in its
text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, cast

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.plain import PlainRow


class Direct:
    """One statement in the words of each database: ``$1`` and arrays for PostgreSQL, ``?`` and scalars for SQLite.

    Values are what the drivers take: UUIDs, times with a zone, bytes and lists for asyncpg; hex, the hub's time texts,
    bytes and numbers for SQLite. Rows are tuples in the order of the columns.
    """

    def __init__(self, *, postgresql: str, sqlite: str) -> None:
        self._postgresql = postgresql
        self._sqlite = sqlite

    async def rows(self, conn: AsyncConnection, *values: Any) -> Sequence[PlainRow]:
        """All rows that it answers. Raises DBAPIError."""
        if conn.dialect.name == "postgresql":
            return (await _on_postgresql(conn, self._postgresql, values))[0]
        return (await _on_sqlite(conn, self._sqlite, values))[0]

    async def run(self, conn: AsyncConnection, *values: Any) -> int:
        """How many rows it has changed. Raises DBAPIError."""
        if conn.dialect.name == "postgresql":
            return _changed((await _on_postgresql(conn, self._postgresql, values))[1])
        return (await _on_sqlite(conn, self._sqlite, values))[1]


async def rows_of(conn: AsyncConnection, statement: str, values: Sequence[Any]) -> Sequence[PlainRow]:
    """The rows of a statement in the words of this connection's database. Raises DBAPIError."""
    on = _on_postgresql if conn.dialect.name == "postgresql" else _on_sqlite
    return (await on(conn, statement, values))[0]


async def run_on_postgresql(conn: AsyncConnection, statement: str, values: Sequence[Any]) -> int:
    """Run one in PostgreSQL's words; how many rows it has changed. Raises DBAPIError."""
    return _changed((await _on_postgresql(conn, statement, values))[1])


async def run_many_on_sqlite(conn: AsyncConnection, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Run one in SQLite's words for each of these rows; how many rows it has changed. Raises DBAPIError."""
    sync = _heard(conn, statement, rows, is_many=True)
    adapted = cast(Any, sync.connection.dbapi_connection)
    try:
        answer = await adapted._connection.executemany(statement, rows)
    except BaseException as error:
        await _fail(conn, adapted, error, statement)
    return cast(int, answer.changed)


async def _on_postgresql(
    conn: AsyncConnection, statement: str, values: Sequence[Any]
) -> tuple[Sequence[PlainRow], str]:
    sync = _heard(conn, statement, values)
    adapted = cast(Any, sync.connection.dbapi_connection)
    try:
        async with adapted._execute_mutex:
            if adapted._transaction is None:
                await adapted._start_transaction()
            prepared = await _prepared(sync, adapted, statement)
            return await prepared.fetch(*values), prepared.get_statusmsg()
    except BaseException as error:
        await _fail(conn, adapted, error, statement)


async def _on_sqlite(conn: AsyncConnection, statement: str, values: Sequence[Any]) -> tuple[Sequence[PlainRow], int]:
    sync = _heard(conn, statement, values)
    adapted = cast(Any, sync.connection.dbapi_connection)
    try:
        answer = await adapted._connection.execute(statement, values)
    except BaseException as error:
        await _fail(conn, adapted, error, statement)
    return answer.rows, answer.changed


async def _prepared(sync: Connection, adapted: Any, statement: str) -> Any:
    """The statement as this connection has it prepared, again where the schema was found to have changed since."""
    return (await adapted._prepare(statement, cast(Any, sync.dialect)._invalidate_schema_cache_asof))[0]


def _heard(conn: AsyncConnection, statement: str, values: Sequence[Any], *, is_many: bool = False) -> Connection:
    """The connection within, once those who listen for statements have heard of this one."""
    sync = conn.sync_connection
    assert sync is not None, "a statement needs a connection that was begun"
    if sync._has_events or sync.engine._has_events:
        sync.dispatch.before_cursor_execute(sync, None, statement, values, None, is_many)
    return sync


async def _fail(conn: AsyncConnection, adapted: Any, error: BaseException, statement: str) -> NoReturn:
    """Raise it as SQLAlchemy would, which also gives up a connection that is lost, or was left in the middle."""

    def fail(sync: Connection) -> NoReturn:
        try:
            if isinstance(error, Exception):
                adapted._handle_exception(error)
            raise error
        except BaseException as translated:
            dialect = cast(Any, sync.dialect)
            driver = dialect.loaded_dbapi
            if dialect.name == "postgresql" and isinstance(
                translated, (driver.InvalidCachedStatementError, driver.InternalServerError)
            ):
                # As its own cursor does; else the statement fails on each connection for as long as that is open.
                dialect._invalidate_schema_cache()
            # With a statement SQLAlchemy would wrap also what is not the driver's: a time-out, a line that is cut.
            known_as = statement if isinstance(translated, driver.Error) else None
            sync._handle_dbapi_exception(translated, known_as, None, None, None)

    await conn.run_sync(fail)
    raise AssertionError("unreachable: it has been raised")


def _changed(status: str) -> int:
    """How many rows, by the server's word for it: ``INSERT 0 3``, ``UPDATE 3``."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0
