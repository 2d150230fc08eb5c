"""The database without threads: every statement of SQLite runs at once, where it is made.

SQLAlchemy gets connections of the standard library under the name of the asynchronous driver, so that nothing of a
statement is ever awaited. With PostgreSQL it keeps its own way, and the loop is told when a server is asked.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

from sqlalchemy.dialects.postgresql import asyncpg as _asyncpg  # noqa: F401 - its names are replaced, too
from sqlalchemy.dialects.sqlite import aiosqlite as adapted
from sqlalchemy.ext.asyncio import base as asyncio_base
from sqlalchemy.util import concurrency

from tests.simulation.gate import Crash, Gate, gates
from tests.simulation.loop import VirtualLoop

PRAGMAS: Final = ("journal_mode = WAL", "foreign_keys = ON", "recursive_triggers = ON", "synchronous = OFF")
"""As the hub has them; but no power fails here, and what a killed process has written is written."""

STATEMENTS: Final = 1_000
"""How many a connection keeps ready: all of them."""


class _Cursor(sqlite3.Cursor):
    """One that has all its rows as soon as it has run, as the asynchronous driver's has."""

    connection: _Connection
    _rows: deque[Any]

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        self.connection.gate.statement(sql)
        super().execute(sql, parameters)
        self._rows = deque(super().fetchall()) if self.description else deque()
        return self

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        self.connection.gate.statement(sql)
        return super().executemany(sql, parameters)

    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        return [self._rows.popleft() for _ in range(min(size or 1, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows, self._rows = list(self._rows), deque()
        return rows

    async def _async_soft_close(self) -> None:
        return


class _Connection(sqlite3.Connection):
    """A connection that passes the gate of the life in which it was made."""

    gate: Gate
    written: int = 0
    """How many rows it had changed when it last committed."""

    def cursor(self, *_: Any, **__: Any) -> Any:
        if self.gate.is_dead:
            raise Crash
        return super().cursor(_Cursor)

    def commit(self) -> None:
        before, self.written = self.written, self.total_changes
        self.gate.commit(self, has_written=self.written > before)

    def rollback(self) -> None:
        if self.gate.is_dead:
            raise Crash
        super().rollback()

    def terminate(self) -> None:
        """As SQLAlchemy has it end a connection that it does not trust any more."""
        self.close()

    @property
    def _connection(self) -> _Connection:
        return self

    @property
    def _conn(self) -> _Connection:
        return self


def _connect(_self: object, database: str, **options: Any) -> _Connection:
    if gates.now.is_dead:
        raise Crash
    connection = sqlite3.connect(database, factory=_Connection, cached_statements=STATEMENTS, **options)
    connection.gate = gates.now
    connection.gate.connections.append(connection)
    return connection


def _set_up(engine: Any, *, begin: str) -> None:
    """As the hub sets up SQLite, with fewer calls: listening to an engine makes each of its statements dearer."""
    connect = engine.sync_engine.dialect.connect

    def connected(*arguments: Any, **options: Any) -> Any:
        connection = connect(*arguments, **options)
        connection.isolation_level = None
        for pragma in PRAGMAS:
            sqlite3.Connection.execute(connection, f"PRAGMA {pragma}")
        return connection

    engine.sync_engine.dialect.connect = connected
    engine.sync_engine.dialect.do_begin = lambda connection: connection.cursor().execute(begin)


class _Rest:
    """What is left of an awaitable that began to wait."""

    def __init__(self, loop: Any, rest: Any, waits_for: Any, *, is_outside: bool) -> None:
        self._loop = loop
        self._is_outside = is_outside and isinstance(loop, VirtualLoop)
        self._rest = rest
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Any]:
        waits_for = self._waits_for
        if self._is_outside:
            self._loop.outside += 1
        try:
            while True:
                try:
                    given = yield waits_for
                except BaseException as error:
                    waits_for = self._rest.throw(error)
                else:
                    waits_for = self._rest.send(given)
        except StopIteration as stop:
            return stop.value
        finally:
            if self._is_outside:
                self._loop.outside -= 1


def _is_outside(awaitable: Any) -> bool:
    # A turn at a connection of the pool is given by the hub itself; all else is the server's.
    return getattr(awaitable, "__qualname__", "").split(".")[0] not in ("Queue", "Lock", "wait_for")


def _await(awaitable: Any) -> Any:
    rest = awaitable.__await__()
    if not hasattr(rest, "send"):
        rest = iter(rest)
    try:
        waits_for = rest.send(None)
    except StopIteration as stop:
        return stop.value
    parent = concurrency._concurrency_shim.getcurrent().parent
    assert parent is not None, "without threads nothing can wait here"
    return parent.switch(_Rest(asyncio.get_running_loop(), rest, waits_for, is_outside=_is_outside(awaitable)))


async def _spawn(fn: Callable[..., Any], *args: Any, _require_await: bool = False, **kwargs: Any) -> Any:
    return await _greenlet_spawn(fn, *args, **kwargs)


async def _call(fn: Callable[..., Any], *args: Any, _require_await: bool = False, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


async def _complete(work: Coroutine[Any, Any, Any]) -> Any:
    """In place of a task that cannot be cut off: nothing here waits. Others have a turn before it is heard of."""
    result = await work
    await asyncio.sleep(0)
    return result


_greenlet_spawn = concurrency.greenlet_spawn
_real_await = concurrency.await_
_run_to_completion = asyncio_base._run_to_completion


def _replaced(dialect: str) -> Iterator[tuple[Any, str, Any]]:
    """What SQLAlchemy's modules know under which name, and what stands there instead."""
    direct: dict[str, tuple[Any, Any]] = {
        "await_": (_real_await, _await),
        "greenlet_spawn": (_greenlet_spawn, _call),
        "_run_to_completion": (_run_to_completion, _complete),
    }
    served = {"await_": direct["await_"], "greenlet_spawn": (_greenlet_spawn, _spawn)}
    for module in [module for name, module in sys.modules.items() if name.startswith("sqlalchemy")]:
        for name, (real, other) in (served if dialect == "postgresql" else direct).items():
            if getattr(module, name, None) is real:
                yield module, name, other


@contextmanager
def at_once(dialect: str) -> Iterator[None]:
    """Within, SQLAlchemy's drivers are called where they are used."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(adapted.AsyncAdapt_aiosqlite_dbapi, "connect", _connect))
        stack.enter_context(patch("hub.store.engines._set_up_sqlite", _set_up))
        # Readers wait for nobody: a turn at a connection would have to be awaited.
        stack.enter_context(patch("hub.store.engines.SQLITE_READERS", 1_000))
        for module, name, other in list(_replaced(dialect)):
            stack.enter_context(patch.object(module, name, other))
        yield
