"""The database without threads: every statement of SQLite runs at once, where it is made.

The hub's own connections do most of that already, and what they leave to a thread is done at once as well, so that
nothing of a statement is ever awaited. With PostgreSQL SQLAlchemy keeps its own way, and the loop is told when a server
is asked.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

from sqlalchemy.dialects.postgresql import asyncpg as _asyncpg  # noqa: F401 - its names are replaced, too
from sqlalchemy.ext.asyncio import base as asyncio_base
from sqlalchemy.util import concurrency

from hub.store import alone, inline
from hub.store.begun import Begun
from hub.store.direct import _on_postgresql
from hub.store.opening import begin_with
from tests.simulation.gate import Crash, Gate, gates
from tests.simulation.loop import VirtualLoop

PRAGMAS: Final = ("journal_mode = WAL", "foreign_keys = ON", "recursive_triggers = ON", "synchronous = OFF")
"""As the hub has them; but no power fails here, and what a killed process has written is written."""

STATEMENTS: Final = 1_000
"""How many a connection keeps ready: all of them."""


class _Cursor(sqlite3.Cursor):
    """One whose statements pass the gate."""

    connection: _Connection

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        self.connection.gate.statement(sql)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> Any:
        self.connection.gate.statement(sql)
        return super().executemany(sql, parameters)


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


def _open(database: str, **options: Any) -> _Connection:
    if gates.now.is_dead:
        raise Crash
    options |= {"timeout": 0, "isolation_level": None, "factory": _Connection, "cached_statements": STATEMENTS}
    connection: _Connection = sqlite3.connect(database, **options)
    connection.gate = gates.now
    connection.gate.connections.append(connection)
    return connection


async def _at_once(_driver: inline.Driver, run: Callable[[], Any], **_: Any) -> Any:
    """In place of a thread."""
    return run()


async def _end(begun: Begun, *raised: Any) -> None:
    await _end_transaction(begun, *raised)
    await asyncio.sleep(0)


_end_transaction = Begun.__aexit__


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


def _waiting(real: Callable[..., Any]) -> Callable[..., Any]:
    """The same, while the loop knows that a server is waited for: no time passes meanwhile."""

    async def waiting(*args: Any, **kwargs: Any) -> Any:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            return await real(*args, **kwargs)
        loop.outside += 1
        try:
            return await real(*args, **kwargs)
        finally:
            loop.outside -= 1

    return waiting


_DRIVERS_OWN = (_on_postgresql, begin_with, alone.rows_at_once)
"""They ask the driver past SQLAlchemy."""
_ASKING = ("sqlalchemy", "hub.store", "hub.inbox")
"""Modules that know them by name."""


def _replaced(dialect: str) -> Iterator[tuple[Any, str, Any]]:
    """What SQLAlchemy's modules know under which name, and what stands there instead."""
    direct: dict[str, tuple[Any, Any]] = {
        "await_": (_real_await, _await),
        "greenlet_spawn": (_greenlet_spawn, _call),
        "_run_to_completion": (_run_to_completion, _complete),
    }
    served = {"await_": direct["await_"], "greenlet_spawn": (_greenlet_spawn, _spawn)}
    served |= {real.__name__: (real, _waiting(real)) for real in _DRIVERS_OWN}
    for module in [module for name, module in sys.modules.items() if name.startswith(_ASKING)]:
        for name, (real, other) in (served if dialect == "postgresql" else direct).items():
            if getattr(module, name, None) is real:
                yield module, name, other


@contextmanager
def at_once(dialect: str) -> Iterator[None]:
    """Within, SQLAlchemy's drivers are called where they are used."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(inline, "open_file", _open))
        stack.enter_context(patch.object(inline.Driver, "_apart", _at_once))
        # No clock and no number decides who has a turn: others have theirs after each transaction.
        stack.enter_context(patch.object(inline, "TURN_S_MAX", math.inf))
        stack.enter_context(patch.object(inline, "READ_S_MAX", math.inf))
        stack.enter_context(patch.object(inline, "TRANSACTIONS_IN_A_ROW", math.inf))
        stack.enter_context(patch.object(Begun, "__aexit__", _end))
        stack.enter_context(patch("hub.store.engines.PRAGMAS", PRAGMAS))
        # Readers wait for nobody: a turn at a connection would have to be awaited.
        stack.enter_context(patch("hub.store.engines.SQLITE_READERS", 1_000))
        for module, name, other in list(_replaced(dialect)):
            stack.enter_context(patch.object(module, name, other))
        yield
