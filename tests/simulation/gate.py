"""The one place that every statement of a hub passes: where its process can end, and its database refuse."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

CHANGES: Final = ("INSERT", "UPDATE", "DELETE")


class Crash(BaseException):
    """The process is gone. Not an Exception: nothing in the hub may act on it."""


class SerializationFailure(sqlite3.OperationalError):
    """What PostgreSQL says of two transactions that cannot both be."""

    sqlstate = "40001"


class DiskFull(sqlite3.OperationalError):
    """What either database says then."""

    sqlstate = "53100"


class ConnectionLost(sqlite3.OperationalError):
    """The database's answer never came, in the words by which SQLAlchemy knows it."""

    sqlstate = "08006"

    def __init__(self) -> None:
        super().__init__("connection closed")


class Gate:
    """Where every statement of one hub passes. ``kill_in`` counts down; at 0 it happens.

    ``fails`` are errors that the next writing statements meet. ``commits`` are for the next commits of something: each
    is refused, or done and not heard of.
    """

    def __init__(self) -> None:
        self.points = 0
        self.kill_in = 0
        self.is_dead = False
        self.fails: list[Exception] = []
        self.commits: list[Exception] = []
        self.connections: list[sqlite3.Connection] = []
        self.on_death: Callable[[], None] = lambda: None
        self._served: list[Any] = []

    def statement(self, text: str) -> None:
        """One is about to run. Raises Crash where the process ends, or what the database says instead."""
        self.reach()
        if self.fails and text.startswith(CHANGES):
            raise self.fails.pop(0)

    def commit(self, connection: sqlite3.Connection, *, has_written: bool) -> None:
        """Commit; the process may end before and after it. Raises what the database says instead."""
        self.reach()
        fails = self.commits.pop(0) if self.commits and has_written else None
        if fails is not None and not isinstance(fails, ConnectionLost):
            raise fails
        sqlite3.Connection.commit(connection)
        if fails is not None:
            raise fails
        # It is on the disk, and nobody has heard so.
        self.reach()

    def reach(self) -> None:
        """One point more. Raises Crash where the process ends."""
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
            with suppress(sqlite3.Error):
                sqlite3.Connection.rollback(connection)
            sqlite3.Connection.close(connection)
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
            try:
                self.statement(statement)
            except sqlite3.Error as error:
                raise OperationalError(statement, None, error) from error

        @event.listens_for(engine, "commit")
        def before_commit(_connection: Any) -> None:
            self.reach()


class _Gates:
    """The gate that new connections belong to."""

    now: Gate


gates = _Gates()
