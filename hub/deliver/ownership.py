"""Who may deliver: workers, their fences, their leases and their lanes.

A worker's every transaction holds its fence row in share mode; whoever takes over raises that row's epoch, so a worker
that was stopped and comes back cannot commit. Source: docs/decisions/0004-ownership.md.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import exists, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.deliver.blocking import release_chains
from hub.deliver.picker import DEFERRED_MAX, PER_CHAIN_MAX
from hub.event import LANES
from hub.store import tables as t
from hub.store.store import Fence, Store

LEASE_S = 15.0
HEARTBEAT_S = 5.0
CAUTIOUS_PER_LANE = 100
"""At least as many as a batch may take of one lane: what was in hand at a crash is among the first of each lane."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ownership:
    """The right to deliver: the fence, the lanes, and the deliveries that were in hand when another worker died."""

    fence: Fence
    lanes: tuple[int, ...]
    suspects: frozenset[int]


async def take_lanes(store: Store, clock: Clock) -> Ownership | None:
    """Register this process as a worker and take every lane whose owner is gone; None when another one lives."""
    worker_id = clock.new_id()

    async def work(conn: AsyncConnection) -> Ownership | None:
        now = await database_now(conn, clock)
        await _lock_lanes(conn)
        living, lost, was_clean = await _other_workers(conn, now)
        if living:
            return None
        await conn.execute(
            insert(t.workers),
            [
                {
                    "id": worker_id,
                    "epoch": 1,
                    "host": socket.gethostname()[:200],
                    "pid": os.getpid(),
                    "state": "running",
                    "started_at": now,
                }
            ],
        )
        await conn.execute(insert(t.leases), [{"worker_id": worker_id, "until": now + timedelta(seconds=LEASE_S)}])
        await _end(conn, lost)
        await conn.execute(update(t.lanes).values(worker_id=worker_id))
        # By the later of both clocks: deliveries are due by this machine's, leases by the database's.
        suspects = frozenset() if was_clean else await _in_hand(conn, max(now, clock.now()))
        await _give_back_calls(conn, now)
        return Ownership(Fence(worker_id, 1), tuple(range(LANES)), suspects)

    return await store.write(work)


async def renew(store: Store, clock: Clock, fence: Fence) -> None:
    """Say that this worker lives. In a row of its own, so that it never waits for a batch."""

    async def work(conn: AsyncConnection) -> None:
        until = await database_now(conn, clock) + timedelta(seconds=LEASE_S)
        await conn.execute(update(t.leases).where(t.leases.c.worker_id == fence.worker_id).values(until=until))

    await store.write(work)


async def give_up(store: Store, fence: Fence) -> None:
    """Leave in order: nothing is in hand any more, and the next worker need not be careful."""

    async def work(conn: AsyncConnection) -> None:
        await conn.execute(
            update(t.workers)
            .where(t.workers.c.id == fence.worker_id, t.workers.c.epoch == fence.epoch)
            .values(state="stopped", epoch=t.workers.c.epoch + 1)
        )
        await conn.execute(update(t.lanes).where(t.lanes.c.worker_id == fence.worker_id).values(worker_id=None))

    await store.write(work)


async def walk_out(store: Store, clock: Clock, fence: Fence) -> None:
    """Leave after an error: the next worker need not wait for the lease, but it is careful with what was in hand."""

    async def work(conn: AsyncConnection) -> None:
        over = await database_now(conn, clock)
        await conn.execute(update(t.leases).where(t.leases.c.worker_id == fence.worker_id).values(until=over))

    await store.write(work, fence=fence)


async def database_now(conn: AsyncConnection, clock: Clock) -> datetime:
    """The time by which leases are judged: one clock for all replicas, and not that of the transaction's start."""
    if conn.dialect.name == "postgresql":
        now: datetime = (await conn.execute(text("SELECT clock_timestamp()"))).scalar_one()
        return now
    return clock.now()


async def _lock_lanes(conn: AsyncConnection) -> None:
    """Make the lanes on first use and lock them, so that two processes that start together take turns."""
    have = await conn.scalar(select(func.count()).select_from(t.lanes))
    if have != LANES:
        await conn.execute(
            text(
                "INSERT INTO lanes (lane) WITH RECURSIVE n(lane) AS"
                " (SELECT 0 UNION ALL SELECT lane + 1 FROM n WHERE lane < :last)"
                " SELECT lane FROM n WHERE true ON CONFLICT DO NOTHING"
            ),
            {"last": LANES - 1},
        )
    if conn.dialect.name == "postgresql":
        await conn.execute(text("SELECT lane FROM lanes ORDER BY lane FOR UPDATE"))


async def _other_workers(conn: AsyncConnection, now: datetime) -> tuple[list[UUID], list[UUID], bool]:
    """Running workers whose lease still stands, those whose lease is over, and whether all ended in order."""
    query = (
        select(t.workers.c.id, t.workers.c.host, t.workers.c.pid, t.leases.c.until)
        .outerjoin(t.leases, t.leases.c.worker_id == t.workers.c.id)
        .where(t.workers.c.state == "running")
    )
    living: list[UUID] = []
    lost: list[UUID] = []
    for row in await conn.execute(query):
        is_dead_here = row.host == socket.gethostname()[:200] and not process_lives(row.pid)
        is_over = row.until is None or row.until <= now
        (lost if is_dead_here or is_over else living).append(row.id)
    return living, lost, not lost


def process_lives(pid: int) -> bool:
    """Whether a process of this number runs on this machine. Our own number means a former life of a container."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _end(conn: AsyncConnection, lost: Sequence[UUID]) -> None:
    """Raise the epoch of workers that are gone. Waits for a transaction of theirs that is still open."""
    for worker_id in sorted(lost):
        log.warning("worker_lost", worker_id=str(worker_id))
        await conn.execute(
            update(t.workers).where(t.workers.c.id == worker_id).values(state="lost", epoch=t.workers.c.epoch + 1)
        )


async def _in_hand(conn: AsyncConnection, by: datetime) -> frozenset[int]:
    """What dead workers may have had in hand at this time: what a look of theirs could have picked."""
    return await _first_ready(conn) | await _first_of_chains(conn, by) | await _deferred(conn, by)


async def _first_ready(conn: AsyncConnection) -> frozenset[int]:
    d = t.deliveries
    place = func.row_number().over(partition_by=d.c.lane, order_by=d.c.id).label("place")
    first = select(d.c.id, d.c.chain, place).where(t.in_state(d, "ready")).subquery()
    is_behind = exists().where(t.blocked.c.chain == first.c.chain)
    rows = await conn.execute(select(first.c.id).where(first.c.place <= CAUTIOUS_PER_LANE, ~is_behind))
    return frozenset(row[0] for row in rows)


async def _first_of_chains(conn: AsyncConnection, by: datetime) -> frozenset[int]:
    """The first deliveries of chains that were due, and those that were talking to a provider."""
    d, b = t.deliveries, t.blocked
    place = func.row_number().over(partition_by=d.c.chain, order_by=d.c.id).label("place")
    due = b.c.state.in_(("backoff", "barrier")) & (b.c.next_at <= by)
    behind = select(d.c.id, place).join(b, b.c.chain == d.c.chain).where(due, t.in_state(d, *t.BEHIND_STATES))
    first = behind.subquery()
    rows = await conn.execute(select(first.c.id).where(first.c.place <= PER_CHAIN_MAX))
    calling = await conn.execute(select(b.c.head).where(b.c.state == "calling"))
    return frozenset(row[0] for row in rows) | frozenset(row[0] for row in calling)


async def _deferred(conn: AsyncConnection, by: datetime) -> frozenset[int]:
    d = t.deliveries
    off_chain = t.in_state(d, *t.OFF_CHAIN_STATES) & t.in_state(d, "deferred")
    query = select(d.c.id).where(off_chain, d.c.next_at <= by).order_by(d.c.next_at).limit(DEFERRED_MAX)
    return frozenset(row[0] for row in await conn.execute(query))


async def _give_back_calls(conn: AsyncConnection, now: datetime) -> None:
    """Deliveries that were talking to a provider are tried again: their record says what must be asked first."""
    chains = [row[0] for row in await conn.execute(select(t.blocked.c.chain).where(t.blocked.c.state == "calling"))]
    await conn.execute(
        update(t.deliveries)
        .where(t.in_state(t.deliveries, *t.BEHIND_STATES), t.in_state(t.deliveries, "calling"))
        .values(state="retrying")
    )
    await release_chains(conn, chains, now=now)
