"""One commit for transactions that wait for each other, on SQLite, where one connection writes.

A commit waits for the disk, in a thread: it costs more than a small transaction does. So those that wait in line for
the connection run one after another in one transaction, each in a savepoint of its own, and share its commit: all of
them are on the disk, or none is. What one of them raises undoes that one alone.

- Only those share that say so (``may_share``): a closure that waits for somebody would hold up the commit of others.
- A transaction takes in nobody else once it is no longer young: those in it wait for that one's work as well.
- Where the connection is lost, the database undoes everything or refuses the commit for what one of them has left, they
  are run again, at last each by itself, and hear what is said of it alone: nothing was committed.

Source: docs/decisions/0011-sqlite-on-the-loop.md.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hub.store.begun import Begun

T = TypeVar("T")

SHARED_MAX: Final = 32
"""So many share one commit."""
UNDONE_MAX: Final = 3
"""After so many times that another one took it down with it, a closure runs without others."""


class _UndoneError(Exception):
    """The transaction was undone for what another of its closures did."""


class _Shared:
    """A transaction and the closures that have run in it."""

    def __init__(self, conn: AsyncConnection, begun_s: float) -> None:
        assert conn.sync_connection is not None, "it was begun"
        self.stack = AsyncExitStack()
        """What commits it, or undoes it."""
        self.conn = conn
        self.begun_s = begun_s
        self.members = 1
        self.is_torn = False
        """A closure is at work in it, or has left what may not be committed."""
        self.committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Those who wait for it may all have been cancelled.
        self.committed.add_done_callback(_retrieve)
        self._driver: Any = conn.sync_connection.connection.driver_connection

    async def run(self, sql: str) -> None:
        """A statement that frames a savepoint. Raises _UndoneError: without its frame nothing of it can be kept."""
        try:
            await self._driver.execute(sql)
        except sqlite3.Error as error:
            raise _UndoneError from error

    @property
    def is_whole(self) -> bool:
        """Whether the connection is as it was before the last closure, but for what that one has written."""
        conn = self.conn
        return not conn.invalidated and not conn.in_nested_transaction() and bool(self._driver.in_transaction)


class Line:
    """Those who want to write, in order of asking; one that runs again asks anew."""

    def __init__(self, engine: AsyncEngine, *, young_s_max: float) -> None:
        """``young_s_max`` is how long a transaction may have run when another joins it."""
        self._engine = engine
        self._young_s_max = young_s_max
        self._is_taken = False
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()
        self._open: _Shared | None = None
        """The transaction that whoever is next joins."""
        self._ending: asyncio.Task[None] | None = None

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]], *, may_share: bool = False) -> T:
        """Run ``work`` in a transaction and commit it; again, where it was undone for another's sake."""
        for _ in range(UNDONE_MAX):
            try:
                return await self._write(work, may_share=may_share)
            except _UndoneError:
                continue
        return await self._write(work, may_share=False)

    async def close(self) -> None:
        """Wait for the commit under way."""
        if self._ending is not None:
            await asyncio.wait([self._ending])

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]], *, may_share: bool) -> T:
        await self._take_turn(may_share=may_share)
        shared, self._open = self._open, None
        if shared is None:
            result, shared = await self._begin(work, may_share=may_share)
        else:
            result = await self._join(shared, work)
        if shared is not None:
            await asyncio.shield(shared.committed)
        return result

    async def _begin(
        self, work: Callable[[AsyncConnection], Awaitable[T]], *, may_share: bool
    ) -> tuple[T, _Shared | None]:
        """Begin a transaction with this; commit it, or leave it to those who are next in line."""
        begun_s, shared = time.perf_counter(), None
        try:
            async with AsyncExitStack() as stack:
                conn = await stack.enter_async_context(Begun(self._engine))
                result = await work(conn)
                if may_share:
                    # Whoever was about to ask does so now.
                    await asyncio.sleep(0)
                    if self._next_may_share():
                        shared = _Shared(conn, begun_s)
                        shared.stack = stack.pop_all()
        except BaseException:
            self._pass_on()
            raise
        if shared is None:
            self._pass_on()
        else:
            self._leave(shared)
        return result, shared

    async def _join(self, shared: _Shared, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run this in a transaction of others, in a savepoint."""
        shared.is_torn = True
        try:
            await shared.run("SAVEPOINT shared")
            try:
                result = await work(shared.conn)
            except BaseException:
                if shared.is_whole:
                    # Where it cannot be undone alone, all of them are.
                    with suppress(_UndoneError):
                        await shared.run("ROLLBACK TO shared")
                        await shared.run("RELEASE shared")
                        shared.is_torn = False
                raise
            await shared.run("RELEASE shared")
            shared.is_torn = False
            shared.members += 1
        finally:
            self._leave(shared)
        return result

    def _leave(self, shared: _Shared) -> None:
        """Let the next one in line join, or end the transaction."""
        if self._may_go_on(shared):
            self._open = shared
            self._pass_on()
        else:
            self._ending = asyncio.create_task(self._end(shared))

    def _may_go_on(self, shared: _Shared) -> bool:
        is_young = time.perf_counter() - shared.begun_s < self._young_s_max and shared.members < SHARED_MAX
        return is_young and not shared.is_torn and shared.is_whole and self._next_may_share()

    def _next_may_share(self) -> bool:
        while self._waiting and self._waiting[0][0].done():
            self._waiting.popleft()
        return bool(self._waiting) and self._waiting[0][1]

    async def _end(self, shared: _Shared) -> None:
        """Commit it, and tell all who have run in it."""
        try:
            async with shared.stack:
                if shared.is_torn or not shared.is_whole:
                    raise _UndoneError
        except asyncio.CancelledError:
            shared.committed.cancel()
            raise
        except IntegrityError:
            # What one of them has left, such as a reference to nothing, is seen only now, and not whose it is.
            shared.committed.set_exception(_UndoneError())
        except BaseException as error:
            shared.committed.set_exception(error)
        else:
            shared.committed.set_result(None)
        finally:
            self._pass_on()

    async def _take_turn(self, *, may_share: bool) -> None:
        if not self._is_taken:
            self._is_taken = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, may_share))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It was this one's turn already.
                shared, self._open = self._open, None
                if shared is None:
                    self._pass_on()
                else:
                    self._leave(shared)
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            turn, _ = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False


def _retrieve(committed: asyncio.Future[None]) -> None:
    if not committed.cancelled():
        committed.exception()
