"""SQLite without threads: every statement runs at once, and passes one place where things can go wrong.

The driver's calls run where they are made; only what really waits (a connection of the pool, PostgreSQL) is awaited.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Final
from unittest.mock import patch

import aiosqlite
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import asyncpg as _asyncpg  # noqa: F401 - its names are replaced, too
from sqlalchemy.dialects.sqlite import aiosqlite as adapted
from sqlalchemy.exc import OperationalError
from sqlalchemy.util import concurrency

from tests.simulation.loop import VirtualLoop

POINTS: Final = ("execute", "executemany", "commit")
"""The driver's calls that count: statements and commits."""


class Crash(BaseException):
    """The process is gone. Not an Exception: nothing in the hub may act on it."""


class SerializationFailure(sqlite3.OperationalError):
    """What PostgreSQL says of two transactions that cannot both be."""

    sqlstate = "40001"


class DiskFull(sqlite3.OperationalError):
    """What either database says then."""

    sqlstate = "53100"


CHANGES: Final = ("INSERT", "UPDATE", "DELETE")


class Gate:
    """Where every statement of one hub passes. ``kill_in`` and its like count down; at 0 it happens.

    ``fails`` are errors that the next writing statements meet.
    """

    def __init__(self) -> None:
        self.points = 0
        self.kill_in = 0
        self.is_dead = False
        self.fails: list[Exception] = []
        self.connections: list[aiosqlite.Connection] = []
        self._served: list[Any] = []
        self.on_death: Callable[[], None] = lambda: None

    def call(self, function: Callable[..., Any], arguments: Any, named: Any) -> Any:
        """One call of the driver. Raises Crash where the process ends."""
        name = function.__name__
        if name not in POINTS:
            if self.is_dead:
                raise Crash
            return function(*arguments, **named)
        self._pass()
        if self.fails and name != "commit" and str(arguments[0]).startswith(CHANGES):
            raise self.fails.pop(0)
        result = function(*arguments, **named)
        if name == "commit":
            # It is on the disk, and nobody has heard so.
            self._pass()
        return result

    def _pass(self) -> None:
        if self.is_dead:
            raise Crash
        self.points += 1
        if self.kill_in:
            self.kill_in -= 1
            if not self.kill_in:
                self.die()
                raise Crash

    def die(self) -> None:
        """From here on nothing gets through."""
        if not self.is_dead:
            self.is_dead = True
            self.on_death()

    def close(self) -> None:
        """The operating system closes what the process had open: what was not committed is gone."""
        for connection in self.connections:
            raw, connection._connection = connection._connection, None
            if raw is not None:
                with suppress(sqlite3.Error):
                    raw.rollback()
                raw.close()
        self.connections.clear()
        for served in self._served:
            served.terminate()
        self._served.clear()

    def watch(self, engine: Any) -> None:
        """PostgreSQL: its statements and commits pass here, too."""

        @event.listens_for(engine, "connect")
        def connected(connection: Any, _record: Any) -> None:
            self._served.append(connection.driver_connection)

        @event.listens_for(engine, "before_cursor_execute")
        def before_statement(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            self._pass()
            if self.fails and statement.startswith(CHANGES):
                raise OperationalError(statement, None, self.fails.pop(0))

        @event.listens_for(engine, "commit")
        def before_commit(_connection: Any) -> None:
            self._pass()


class _Gates:
    """The gate that new connections belong to."""

    now: Gate


gates = _Gates()


async def _execute(self: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if self._connection is None:
        raise ValueError("Connection closed")
    return self.gate.call(fn, args, kwargs)


class _Opening:
    """A connection that is there at once."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __iter__(self) -> _Opening:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, _value: object) -> Any:
        one = self._connection
        one.gate = gates.now
        if one.gate.is_dead:
            raise Crash
        one._connection = one._connector()
        one.gate.connections.append(one)
        raise StopIteration(one)


def _open(self: Any) -> Any:
    return _Opening(self)


def _stop(self: Any) -> None:
    raw, self._connection = self._connection, None
    if raw is not None:
        raw.close()


async def _close(self: Any) -> None:
    _stop(self)


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
    assert parent is not None
    return parent.switch(_Rest(asyncio.get_running_loop(), rest, waits_for, is_outside=_is_outside(awaitable)))


async def _spawn(fn: Callable[..., Any], *args: Any, _require_await: bool = False, **kwargs: Any) -> Any:
    return await _greenlet_spawn(fn, *args, **kwargs)


_greenlet_spawn = concurrency.greenlet_spawn
_real_await = concurrency.await_


@contextmanager
def at_once() -> Iterator[None]:
    """Within, SQLAlchemy's drivers are called where they are used."""
    with ExitStack() as stack:
        for name, value in {"_execute": _execute, "__await__": _open, "stop": _stop, "close": _close}.items():
            stack.enter_context(patch.object(aiosqlite.Connection, name, value))
        stack.enter_context(patch.object(aiosqlite.Connection, "__del__", lambda _self: None))
        level = property(
            lambda self: self._connection._conn.isolation_level,
            lambda self, value: setattr(self._connection._conn, "isolation_level", value),
        )
        stack.enter_context(patch.object(adapted.AsyncAdapt_aiosqlite_connection, "isolation_level", level))
        for module in [module for name, module in sys.modules.items() if name.startswith("sqlalchemy")]:
            if getattr(module, "await_", None) is _real_await:
                stack.enter_context(patch.object(module, "await_", _await))
            if getattr(module, "greenlet_spawn", None) is _greenlet_spawn:
                stack.enter_context(patch.object(module, "greenlet_spawn", _spawn))
        yield
