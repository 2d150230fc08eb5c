"""Transactions on the one database, the same way on SQLite and PostgreSQL.

``write`` runs a closure in one transaction and may run it again (deadlock, serialisation failure; on SQLite, when
another that shared its commit undid both), so a closure must build its results afresh each time. ``reading`` gives a
snapshot. Source: docs/guarantees.md, G2.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast
from uuid import UUID

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hub.errors import HubError, StoreUnavailableError
from hub.store.begun import Begun
from hub.store.direct import Direct
from hub.store.engines import open_engines, open_heartbeat
from hub.store.inline import UNDONE
from hub.store.opening import begin_with
from hub.store.sharing import Line

T = TypeVar("T")
Work: TypeAlias = Callable[[AsyncConnection], Awaitable[T]]
Dialect: TypeAlias = Literal["sqlite", "postgresql"]

RERUNS_MAX = 10
RERUN_DELAY_S = 0.01
SHARED_S_MAX: Final = 0.005
"""``may_share`` is for what takes no longer: who has run in a transaction waits for those that join it."""
IDLE_S_MAX = 13
"""How long a fenced transaction may lie idle: more than a handler may take, less than a lease lasts."""
_RERUN_STATES = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected

log = structlog.get_logger(__name__)


class FencedError(HubError):
    """Another worker took over: this one's epoch is over and nothing of it may commit."""


class Fence:
    """A worker's right to write for its lanes: its row in ``workers`` under the epoch it was given."""

    def __init__(self, worker_id: UUID, epoch: int, *, idle_s: float = IDLE_S_MAX, turn: int | None = None) -> None:
        self.worker_id = worker_id
        self.epoch = epoch
        self.idle_s = idle_s
        """Seconds after which PostgreSQL ends a transaction in which nothing happens."""
        self._turn = turn
        self._held = _hold_on_postgresql(
            f"'{round(1000 * idle_s)}ms'", f"'{worker_id}'", f"{epoch:d}", None if turn is None else f"{turn:d}"
        )

    def in_turn(self, turn: int) -> Fence:
        """The same, for transactions that wait for each other, by this number: hub/ownership/turns.py."""
        return Fence(self.worker_id, self.epoch, idle_s=self.idle_s, turn=turn)

    async def hold(self, conn: AsyncConnection) -> None:
        """Read the row and keep it until the commit. Raises FencedError when the epoch is over.

        A process that is stopped in the middle would keep the row locked. PostgreSQL ends such a transaction before the
        lease is over, so that its successor need not wait.
        """
        if conn.dialect.name == "postgresql":
            is_mine = bool(await begin_with(conn, self._held, known_as=_HELD[self._turn is not None]))
        else:
            is_mine = bool(await _HOLD_SQLITE.rows(conn, self.worker_id.hex, self.epoch))
        if not is_mine:
            raise FencedError(f"worker {self.worker_id} lost its lanes: epoch {self.epoch} is over")


# A worker only ever looks rows up by their keys. On small tables, and on those that nobody has analysed, the planner
# prefers joins that read all of them, and keeps such a plan while they grow. Without sequential scans every estimate
# is huge where one is unavoidable, which would call the compiler (jit).
_SETTINGS = {
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


def _hold_on_postgresql(idle: str, worker_id: str, epoch: str, turn: str | None) -> str:
    """Settings, the worker's turn where it takes one, and its row.

    The turn is taken before the row, and the row is what it is when it is locked.
    """
    settings = [f"set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items()]
    settings.append(f"set_config('idle_in_transaction_session_timeout', {idle}, true)")
    turns = [] if turn is None else [f"pg_advisory_xact_lock({turn})"]
    said = ", ".join([*settings, *turns])
    return f"SELECT {said} FROM workers WHERE id = {worker_id} AND epoch = {epoch} FOR SHARE"  # noqa: S608 - our numbers


_HELD = (_hold_on_postgresql("$1", "$2", "$3", None), _hold_on_postgresql("$1", "$2", "$3", "$4"))
"""How listeners hear of it, without a turn and with one."""
_HOLD_SQLITE = Direct(postgresql="", sqlite="SELECT 1 FROM workers WHERE id = ? AND epoch = ?")


class Store:
    """One database. On SQLite a single connection writes, one closure after another.

    That is in order of asking; one that runs again asks anew.
    """

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, heartbeat: AsyncEngine | None = None) -> None:
        self.writer = writer
        self._heartbeat = heartbeat
        self.reader = reader
        self.dialect = cast(Dialect, writer.dialect.name)
        self._line = Line(writer, young_s_max=SHARED_S_MAX)

    @classmethod
    def open(cls, url: str, *, pool_size: int = 10, busy_timeout_s: float = 5.0, is_pooled: bool = False) -> Store:
        """Prepare the connections; nothing is opened yet. ``url`` is an SQLAlchemy URL with an async driver.

        ``is_pooled``: PgBouncer in transaction mode stands in between.
        """
        engines = open_engines(url, pool_size=pool_size, busy_timeout_s=busy_timeout_s, is_pooled=is_pooled)
        return cls(*engines, open_heartbeat(url, is_pooled=is_pooled))

    async def write(
        self, work: Work[T], *, fence: Fence | None = None, is_heartbeat: bool = False, may_share: bool = False
    ) -> T:
        """Run ``work`` in one transaction and commit it.

        ``is_heartbeat``: on PostgreSQL by a connection of its own, which no handler can have in hand. ``may_share``: it
        is short and waits for nobody, so that on SQLite its commit may be that of others as well; it runs again, behind
        whoever has asked meanwhile, where one of them takes the transaction with it.

        Raises StoreUnavailableError when the database does not answer, FencedError when ``fence`` is over, and
        whatever ``work`` raises; in each case nothing was committed.
        """
        return await run_again(lambda: self._transaction(work, fence, is_heartbeat=is_heartbeat, may_share=may_share))

    async def _transaction(
        self, work: Work[T], fence: Fence | None, *, is_heartbeat: bool = False, may_share: bool = False
    ) -> T:
        if self.dialect == "sqlite":
            return await self._line.write(lambda conn: self._fenced(conn, work, fence), may_share=may_share)
        engine = self._heartbeat if is_heartbeat and self._heartbeat is not None else self.writer
        async with Begun(engine) as conn:
            return await self._fenced(conn, work, fence)

    async def _fenced(self, conn: AsyncConnection, work: Work[T], fence: Fence | None) -> T:
        if fence is not None:
            await fence.hold(conn)
        return await work(conn)

    async def rehearse(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction that is rolled back: what would happen, without its happening."""
        result: list[T] = []

        async def run(conn: AsyncConnection) -> None:
            result.append(await work(conn))
            raise _RolledBack

        with suppress(_RolledBack):
            await self.write(run)
        return result[0]

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one moment and changes nothing."""
        try:
            async with Begun(self.reader) as conn:
                yield conn
        except DBAPIError as error:
            raise unavailable(error) or error from error
        except (OSError, PoolTimeoutError) as error:
            raise StoreUnavailableError(f"the database did not answer: {error}", delay_s=1.0) from error

    async def close(self) -> None:
        await self._line.close()
        await self.writer.dispose()
        await self.reader.dispose()
        if self._heartbeat is not None:
            await self._heartbeat.dispose()


class _RolledBack(Exception):
    pass


async def run_again(run: Callable[[], Awaitable[T]]) -> T:
    """What a transaction answers, which is run again where it stood in another's way. Raises StoreUnavailableError."""
    for rerun in range(RERUNS_MAX):
        try:
            return await run()
        except DBAPIError as error:
            if rerun + 1 < RERUNS_MAX and sqlstate(error) in _RERUN_STATES:
                await asyncio.sleep(RERUN_DELAY_S * 2**rerun * random.uniform(0.5, 1))  # noqa: S311
                continue
            raise unavailable(error) or error from error
        except (OSError, PoolTimeoutError) as error:
            raise StoreUnavailableError(f"the database did not answer: {error}", delay_s=1.0) from error
    raise AssertionError("unreachable: the last round returns or raises")


def interrupt(conn: AsyncConnection) -> None:
    """Stop the statement under way. On SQLite its thread would go on with it, and hold the lock of the one writer.

    Elsewhere nothing is needed: a driver that is cancelled tells the server.
    """
    if conn.dialect.name == "sqlite" and conn.sync_connection is not None and not conn.invalidated:
        driver: Any = conn.sync_connection.connection.driver_connection
        driver.interrupt()


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's five-character code, or an empty text."""
    original = error.orig
    for candidate in (original, getattr(original, "__cause__", None)):
        state = getattr(candidate, "sqlstate", None) or getattr(candidate, "pgcode", None)
        if isinstance(state, str):
            return state
    return ""


def unavailable(error: SQLAlchemyError) -> StoreUnavailableError | None:
    """The error as the hub's own when the database could not do its work, None when the statement was at fault."""
    if not isinstance(error, DBAPIError):
        return None
    state = sqlstate(error)
    # What follows the first line quotes rows.
    words = str(error.orig).partition("\n")[0]
    # Classes 08 (connection), 53 (resources), 57 (operator), 25006 (read-only), 55P03 (lock timeout), 40 (rerun).
    if state[:2] in {"08", "53", "57", "40"} or state in {"25006", "25P03", "55P03", "58030"}:
        return StoreUnavailableError(f"the database refused: {words}", delay_s=1.0)
    if error.statement is None and (state in _NOT_LET_IN or state[:2] == "28"):
        return StoreUnavailableError(f"the database lets nobody in: {words}", delay_s=1.0)
    # A value that the driver cannot encode is an InterfaceError too, and no fault of the connection.
    is_bad_value = isinstance(getattr(error.orig, "__cause__", None), ValueError)
    if error.connection_invalidated or (isinstance(error, InterfaceError) and not is_bad_value):
        return StoreUnavailableError(f"the database connection was lost: {words}", delay_s=1.0)
    if isinstance(error, OperationalError) and any(sign in words for sign in _SQLITE_SIGNS):
        return StoreUnavailableError(f"the database refused: {words}", delay_s=1.0)
    return None


_NOT_LET_IN = frozenset({"3D000", "55000"})
"""While connecting: no such database (yet), or it accepts no connections (yet). Class 28 is about the login."""
_SQLITE_SIGNS = ("locked", "readonly", "disk is full", "disk I/O", "unable to open", UNDONE)
