"""One transaction of an engine, as ``engine.begin()`` gives it, for less.

SQLAlchemy goes into a greenlet of its own for each of connecting, beginning, committing and giving back, and gives a
connection back in a task that cannot be cut off. A small transaction costs less than that. Here it is one greenlet at
either end, and the task is for what went wrong: after a commit nothing is left to wait for, so that nothing can cut off
what follows.
"""

from __future__ import annotations

from types import TracebackType

from sqlalchemy import Connection
from sqlalchemy.engine import RootTransaction
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util.concurrency import greenlet_spawn


class Begun:
    """``async with``: a connection in a transaction, which is committed at the end, or undone by what is raised."""

    __slots__ = ("_conn", "_engine", "_sync", "_transaction")

    _conn: AsyncConnection
    _sync: Connection | None
    _transaction: RootTransaction

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._sync = None

    async def __aenter__(self) -> AsyncConnection:
        try:
            await greenlet_spawn(self._begin)
        except BaseException:
            if self._sync is not None:
                await AsyncConnection(self._engine, self._sync).__aexit__(None, None, None)
            raise
        self._conn = AsyncConnection(self._engine, self._sync)
        return self._conn

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await greenlet_spawn(self._end, kind, error, trace)
        except BaseException:
            await self._conn.__aexit__(None, None, None)
            raise
        if kind is not None:
            await self._conn.__aexit__(None, None, None)

    def _begin(self) -> None:
        self._sync = self._engine.sync_engine.connect()
        self._transaction = self._sync.begin()
        self._transaction.__enter__()

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._transaction.__exit__(kind, error, trace)
        if kind is None and self._sync is not None:
            self._sync.close()
