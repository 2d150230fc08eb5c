"""The rows of ownership: who is a worker, until when its lease lasts, which lanes are whose.

Everything that gives a lane away locks rows of ``lanes`` in their order first, so that workers take turns.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.ownership.holding import DELIVER, RELAY, Kind
from hub.ownership.instance import host_name, is_gone, own_instance
from hub.store import tables as t
from hub.store.alone import read_alone
from hub.store.direct import Direct
from hub.store.store import Fence, FencedError, Store
from hub.store.upserts import insert_for

KEPT_S = 7 * 24 * 3600.0
"""How long a worker that has ended stays on record, for people."""

_w, _l = t.workers, t.leases


@dataclass(frozen=True, slots=True)
class Scene:
    """The workers and lanes at one moment. ``lost`` are workers that are gone without saying so, with their epochs."""

    living: Mapping[Kind, frozenset[UUID]]
    lost: Mapping[UUID, int]
    owned: Mapping[tuple[Kind, UUID | None], int]

    def has_free(self, kind: Kind) -> bool:
        """Whether some lane of this kind belongs to no living worker."""
        living = self.living[kind]
        return any(count for (of, owner), count in self.owned.items() if of == kind and owner not in living)


async def database_now(conn: AsyncConnection, clock: Clock) -> datetime:
    """The time by which leases are judged: one clock for all replicas, and not that of the transaction's start."""
    if conn.dialect.name == "postgresql":
        now: datetime = (await conn.execute(text("SELECT clock_timestamp()"))).scalar_one()
        return now
    return clock.now()


async def enter(conn: AsyncConnection, fence: Fence, kinds: Collection[Kind], now: datetime, lease_s: float) -> None:
    """Put a worker on record, and forget those that ended long ago."""
    row = {
        "id": fence.worker_id,
        "epoch": fence.epoch,
        "host": host_name(),
        "pid": os.getpid(),
        "instance": own_instance(),
        "delivers": DELIVER in kinds,
        "relays": RELAY in kinds,
        "state": "running",
        "started_at": now,
    }
    lease = {"worker_id": fence.worker_id, "until": now + timedelta(seconds=lease_s)}
    # Whoever lost the connection at the commit does not know whether it happened, and comes again.
    await conn.execute(insert_for(conn.dialect.name, _w).on_conflict_do_nothing(), [row])
    await conn.execute(insert_for(conn.dialect.name, _l).on_conflict_do_nothing(), [lease])
    # A fence without a row is as good as one whose epoch is over.
    is_owner = exists().where(t.lanes.c.worker_id == _w.c.id)
    old = (_w.c.state != "running") & (_w.c.started_at < now - timedelta(seconds=KEPT_S)) & ~is_owner
    await conn.execute(delete(_w).where(old))
    await conn.execute(delete(_l).where(_l.c.worker_id.not_in(select(_w.c.id))))


async def look(store: Store, clock: Clock) -> Scene:
    """Who lives, who is gone, and how many lanes each has. Raises StoreUnavailableError."""
    living: list[tuple[UUID, bool, bool]] = []
    lost: dict[UUID, int] = {}
    owned: Counter[tuple[Kind, UUID | None]] = Counter()
    for at, worker, epoch, host, instance, delivers, relays, until, kind, lanes in await read_alone(store, _LOOK):
        of = UUID(worker) if isinstance(worker, str) else worker
        if kind is not None:
            owned[kind, of] = lanes
        elif _is_lost(_time(until), host, instance, now=at or clock.now()):
            lost[of] = epoch
        else:
            living.append((of, bool(delivers), bool(relays)))
    return Scene(
        living={
            DELIVER: frozenset(of for of, delivers, _ in living if delivers),
            RELAY: frozenset(of for of, _, relays in living if relays),
        },
        lost=lost,
        owned=owned,
    )


def _look(now: str) -> str:
    """The time by which leases are judged, with each worker on record; and how many lanes of a kind are whose."""
    return f"""\
SELECT {now}, w.id, w.epoch, w.host, w.instance, w.delivers, w.relays, l.until, NULL, NULL
FROM workers AS w LEFT JOIN leases AS l ON l.worker_id = w.id WHERE w.state = 'running'
UNION ALL
SELECT NULL, worker_id, NULL, NULL, NULL, NULL, NULL, NULL, kind, count(*) FROM lanes GROUP BY kind, worker_id"""  # noqa: S608 - our words


_LOOK = Direct(postgresql=_look("clock_timestamp()"), sqlite=_look("NULL"))


def _time(value: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _is_lost(until: datetime | None, host: str, instance: str, *, now: datetime) -> bool:
    return until is None or until <= now or is_gone(host, instance)


async def renew(conn: AsyncConnection, fence: Fence, until: datetime) -> None:
    """Say that this worker lives. In a row of its own, so that it never waits for a batch.

    Raises FencedError when it was taken for dead.
    """
    mine = exists().where(_w.c.id == fence.worker_id, _w.c.epoch == fence.epoch)
    renewed = await conn.execute(update(_l).where(_l.c.worker_id == fence.worker_id, mine).values(until=until))
    if not renewed.rowcount:
        raise FencedError(f"worker {fence.worker_id} was taken for dead: epoch {fence.epoch} is over")


@dataclass(frozen=True, slots=True)
class Taken:
    """Lanes that are ours now: ``all``, those that were ``gained``, and of these the ones to be careful with."""

    all: frozenset[int]
    gained: list[int]
    careful: list[int]


async def take(conn: AsyncConnection, kind: Kind, me: UUID, target: int, known: Collection[int]) -> Taken:
    """Take free lanes until so many are ours. ``known`` are those of which we know that they are ours.

    What is ours without our knowing comes from a transaction whose commit we did not hear of. It is as good as gained,
    and nobody remembers whether its former owner had died.
    """
    owners = await _locked(conn, kind)
    states = await _states(conn, {owner for owner in owners.values() if owner is not None})
    mine = {lane for lane, owner in owners.items() if owner == me}
    free = [lane for lane, owner in owners.items() if owner is None or states.get(owner) != "running"]
    taken = free[: max(0, target - len(mine))]
    if taken:
        await conn.execute(update(t.lanes).where(_these(kind, taken)).values(worker_id=me))
    unknown = sorted(mine - set(known))
    lost = [lane for lane in taken if (owner := owners[lane]) is not None and states.get(owner) == "lost"]
    return Taken(frozenset(mine | set(taken)), unknown + taken, unknown + lost)


async def free(conn: AsyncConnection, kind: Kind, me: UUID, lanes: Collection[int]) -> None:
    """Let others take these lanes."""
    await _locked(conn, kind, lanes)
    await conn.execute(update(t.lanes).where(_these(kind, lanes), t.lanes.c.worker_id == me).values(worker_id=None))


async def leave(conn: AsyncConnection, fence: Fence) -> None:
    """Leave in order: waits for every transaction of this worker; its lanes are free and nobody suspects anything."""
    mine = (_w.c.id == fence.worker_id) & (_w.c.epoch == fence.epoch)
    await conn.execute(update(_w).where(mine).values(state="stopped", epoch=_w.c.epoch + 1))
    owned = t.lanes.c.worker_id == fence.worker_id
    await conn.execute(select(t.lanes.c.lane).where(owned).order_by(t.lanes.c.kind, t.lanes.c.lane).with_for_update())
    await conn.execute(update(t.lanes).where(owned).values(worker_id=None))


async def end_lease(conn: AsyncConnection, fence: Fence, now: datetime) -> None:
    """Leave after an error: the successor need not wait, but it is careful with what was in hand."""
    await conn.execute(update(_l).where(_l.c.worker_id == fence.worker_id).values(until=now))


async def _locked(conn: AsyncConnection, kind: Kind, lanes: Collection[int] | None = None) -> dict[int, UUID | None]:
    which = t.lanes.c.kind == kind if lanes is None else _these(kind, lanes)
    query = select(t.lanes.c.lane, t.lanes.c.worker_id).where(which).order_by(t.lanes.c.lane)
    return {row.lane: row.worker_id for row in await conn.execute(query.with_for_update())}


def _these(kind: Kind, lanes: Collection[int]) -> ColumnElement[bool]:
    return (t.lanes.c.kind == kind) & t.lanes.c.lane.in_(lanes)


async def _states(conn: AsyncConnection, workers: Collection[UUID]) -> dict[UUID, str]:
    # A statement of its own: joined to the rows that it waits for, it would show the state of before the wait.
    rows = await conn.execute(select(_w.c.id, _w.c.state).where(_w.c.id.in_(workers)))
    return {row.id: row.state for row in rows}
