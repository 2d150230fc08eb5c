"""Ending a worker that is gone: its epoch is raised, and a transaction that it left open does not stand in the way.

Source: docs/decisions/0004-ownership.md; PostgreSQL, "Server Signaling Functions" and ``pg_blocking_pids``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import structlog
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import StoreUnavailableError
from hub.store import tables as t
from hub.store.store import Store

PATIENCE_S = 2.0
"""How long an open transaction of a worker that is gone may go on: it may be about to commit."""

log = structlog.get_logger(__name__)


async def end_worker(store: Store, worker_id: UUID, epoch: int, *, patience_s: float = PATIENCE_S) -> bool:
    """Raise the epoch of a worker that is gone, so that nothing of it commits from here on; its lanes can be taken.

    A stopped process may keep its row locked for as long as it likes. After ``patience_s`` PostgreSQL is asked to end
    the connections that are in the way. False when somebody else was first.
    """

    async def work(conn: AsyncConnection) -> bool:
        this = (t.workers.c.id == worker_id) & (t.workers.c.epoch == epoch) & (t.workers.c.state == "running")
        async with _breaking_in(store, conn, patience_s):
            ended = await conn.execute(update(t.workers).where(this).values(state="lost", epoch=epoch + 1))
        return bool(ended.rowcount)

    was_ended = await store.write(work)
    if was_ended:
        log.warning("worker_lost", worker_id=str(worker_id))
    return was_ended


@asynccontextmanager
async def _breaking_in(store: Store, conn: AsyncConnection, patience_s: float) -> AsyncIterator[None]:
    """While this connection waits inside, end those that it waits for."""
    if conn.dialect.name != "postgresql":
        yield
        return
    waiting: int = (await conn.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    watch = asyncio.create_task(_end_those_in_the_way(store, waiting, patience_s))
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait({watch})


async def _end_those_in_the_way(store: Store, waiting: int, patience_s: float) -> None:
    while True:
        await asyncio.sleep(patience_s)
        try:
            async with store.reading() as conn:
                ended = list(await conn.scalars(_END, {"waiting": waiting}))
        except (StoreUnavailableError, DBAPIError) as error:
            # Without the right to do so, its own bound on idle transactions ends them, a little later.
            log.warning("transaction_not_ended", error=type(error).__name__)
            continue
        if ended:
            log.warning("transaction_ended", backends=ended)


# Whoever waits for a lock is another worker with the same aim, and not what stands in the way. Materialized, since
# PostgreSQL may ask the conditions of one WHERE in any order, and would end every connection of the server.
_END = text(
    "WITH in_the_way AS MATERIALIZED ("
    " SELECT pid FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(:waiting))"
    " AND wait_event_type IS DISTINCT FROM 'Lock' AND datname = current_database())"
    " SELECT pid FROM in_the_way WHERE pg_terminate_backend(pid)"
)
