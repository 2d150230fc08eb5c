"""The places where a hub can be cut off: before each statement, around each commit, around each publishing.

They are found by listening to the engines and the transport, not listed by hand. A point is a place with the number of
times that it was reached: sweeps and parallel connections may shift the order of all places, but not that of one.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from hub.store.inline import Driver
from hub.store.store import Store
from hub.transports import OutboundMessage, PublishResult, Transport, open_transport
from tests.faults.flows.flying import IDLE

STATEMENT_CHARS_MAX = 160
FRAMES = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK")
"""They only frame statements: what is before one of them is also before the statement that follows."""
_PARAMETERS = re.compile(r"\((?:\s*(?:\?|:\w+|\$\d+(?:::\w+)?)\s*,?)+\)")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One moment of one run: the ``occurrence``-th time (from 1) that this place was reached."""

    place: str
    occurrence: int

    @property
    def is_boundary(self) -> bool:
        """Whether something becomes lasting here: a commit or a publishing, and not one more statement."""
        return not self.place.startswith("statement")

    def __str__(self) -> str:
        return f"{self.place} #{self.occurrence}"


class Crash(BaseException):
    """The process is gone. Not an Exception: nothing in the hub may act on it."""


class Seams:
    """Counts the points of one life of a hub; at ``target`` it strikes, and from then on nothing gets through."""

    def __init__(self, target: Point | None = None, *, strike: Callable[[], None] | None = None) -> None:
        self.target = target
        self.reached: list[Point] = []
        self.has_struck = False
        self._strike = strike
        self._counts: Counter[str] = Counter()
        self._written: dict[int, str] = {}
        self._connections: list[Any] = []

    def reach(self, place: str) -> None:
        """Say that a place is reached. Raises Crash at the target, and everywhere after it."""
        if self.has_struck:
            raise Crash
        self.count(place)
        if self.reached[-1] == self.target:
            self.has_struck = True
            if self._strike is not None:
                self._strike()
            raise Crash

    def count(self, place: str) -> None:
        """Note that a place is reached once more."""
        self._counts[place] += 1
        self.reached.append(Point(place, self._counts[place]))

    async def drop_connections(self) -> None:
        """Close every connection to the database under the hub's feet, as the end of a process does."""
        while self._connections:
            connection = self._connections.pop()
            if isinstance(connection, Driver):
                thread = connection._thread
                connection.stop()
                while thread is not None and thread.is_alive():  # noqa: ASYNC110 - a thread tells no event
                    await asyncio.sleep(0)
            else:
                connection.terminate()

    def watch_store(self, store: Store) -> None:
        """Listen to every statement and commit. On PostgreSQL both engines are one."""
        for engine in {id(one.sync_engine.pool): one for one in (store.reader, store.writer)}.values():
            self._watch(engine)

    def watch_transport(self, transport: Transport) -> None:
        """Listen to every publishing."""
        publish = transport.publish

        async def watched(messages: Sequence[OutboundMessage], **options: Any) -> list[PublishResult]:
            self.reach("before publishing")
            results = await publish(messages, **options)
            self.reach("after publishing")
            return results

        setattr(transport, "publish", watched)  # noqa: B010 - a method is covered on purpose

    def _watch(self, engine: AsyncEngine) -> None:
        dialect: Any = engine.sync_engine.dialect
        commit = type(dialect).do_commit.__get__(dialect)

        @event.listens_for(engine.sync_engine, "connect")
        def connected(connection: Any, _record: Any) -> None:
            self._connections.append(connection.driver_connection)

        @event.listens_for(engine.sync_engine, "begin")
        def begun(connection: Any) -> None:
            self._written.pop(id(connection.connection.dbapi_connection), None)

        @event.listens_for(engine.sync_engine, "before_cursor_execute")
        def before_statement(connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if statement.startswith(FRAMES):
                return
            text = _normal(statement)
            if text.startswith(IDLE):
                return
            if not statement.startswith("SELECT"):
                self._written[id(connection.connection.dbapi_connection)] = text
            self.reach(f"statement: {text}")

        def watched_commit(connection: Any) -> None:
            last = self._written.pop(id(getattr(connection, "dbapi_connection", connection)), None)
            if last is None:
                # It only read: its end changes nothing for anybody.
                commit(connection)
                return
            self.reach(f"before commit of: {last}")
            commit(connection)
            self.reach(f"after commit of: {last}")

        dialect.do_commit = watched_commit


@contextmanager
def watching(seams: Seams) -> Iterator[None]:
    """Every store and transport that is opened meanwhile is watched, from its first statement on."""
    open_store = Store.open

    def watched_store(url: str, **options: Any) -> Store:
        store = open_store(url, **options)
        _share_statements(store)
        seams.watch_store(store)
        return store

    def watched_transport(*arguments: Any) -> Transport:
        transport = open_transport(*arguments)
        seams.watch_transport(transport)
        return transport

    with patch("hub.app.Store.open", watched_store), patch("hub.app.open_transport", watched_transport):
        yield


_SHARED: dict[tuple[str, bool], tuple[Any, Any]] = {}


def _share_statements(store: Store) -> None:
    """Let the engines of one life use what those of an earlier one have compiled: a third of the time of a run."""
    for async_engine in (store.writer, store.reader):
        engine: Any = async_engine.sync_engine
        is_reader = store.dialect == "sqlite" and async_engine is store.reader
        shared = _SHARED.setdefault((store.dialect, is_reader), (engine.dialect, engine._compiled_cache))
        engine.dialect, engine._compiled_cache = shared
        engine.pool._dialect = engine.dialect


def _normal(statement: str) -> str:
    """A statement as a name: without the number of its parameters, which depends on what came together."""
    text = _PARAMETERS.sub("(…)", _SPACE.sub(" ", statement).strip())
    while "(…), (…)" in text:
        text = text.replace("(…), (…)", "(…)")
    if len(text) <= STATEMENT_CHARS_MAX:
        return text
    return f"{text[:STATEMENT_CHARS_MAX]}… ({zlib.crc32(text.encode()):08x})"
