"""How much waits and for how long, for metrics and for readiness. Reads open rows only, so history costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import ScalarSelect, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.deliver import metrics
from hub.errors import StoreUnavailableError
from hub.signal import is_set_within
from hub.store import tables as t
from hub.store.store import Store

LOOK_S = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Open deliveries by state, messages to be sent, and since when the oldest ready delivery waits."""

    deliveries: Mapping[str, int]
    messages: Mapping[str, int]
    oldest_s: float


class BacklogWatch:
    """Looks at the backlog from time to time and tells Prometheus."""

    def __init__(self, store: Store, clock: Clock, *, look_s: float = LOOK_S) -> None:
        self._store = store
        self._clock = clock
        self._look_s = look_s
        self.latest: Backlog | None = None

    async def run(self, stopping: asyncio.Event) -> None:
        """Look until ``stopping`` is set."""
        while not stopping.is_set():
            try:
                async with self._store.reading() as conn:
                    self.latest = await read_backlog(conn, self._clock.now())
                _tell(self.latest)
            except StoreUnavailableError as error:
                log.warning("backlog_unknown", error=str(error))
            await is_set_within(stopping, self._look_s)


async def read_backlog(conn: AsyncConnection, now: datetime) -> Backlog:
    """Count what is open, state by state: each count reads one partial index."""
    counts = {(table.name, state): _count(table, state) for table, states in _COUNTED.items() for state in states}
    oldest = (
        select(t.inbox.c.received_at)
        .join(t.deliveries, t.deliveries.c.event_seq == t.inbox.c.seq)
        .where(t.in_state(t.deliveries, "ready"))
        .order_by(t.deliveries.c.id)
        .limit(1)
    )
    # One statement, of which each part reads one index.
    *found, received_at = (await conn.execute(select(*counts.values(), oldest.scalar_subquery()))).one()
    numbers = dict(zip(counts, found, strict=True))
    oldest_s = max(0.0, (now - received_at).total_seconds()) if received_at is not None else 0.0
    deliveries, messages = (
        {state: numbers[table.name, state] for state in states} for table, states in _COUNTED.items()
    )
    return Backlog(deliveries, messages, oldest_s)


_COUNTED: Mapping[Table, Sequence[str]] = {t.deliveries: t.OPEN_STATES, t.outbox: ("ready", "waiting", "parked")}
_INDEXED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("deliveries", "ready"): ("ready",),
    ("deliveries", "deferred"): t.OFF_CHAIN_STATES,
    ("deliveries", "waiting"): t.OFF_CHAIN_STATES,
    ("deliveries", "parked"): t.OFF_CHAIN_STATES,
    ("deliveries", "calling"): t.BEHIND_STATES,
    ("deliveries", "retrying"): t.BEHIND_STATES,
    ("outbox", "ready"): ("ready",),
    ("outbox", "waiting"): ("waiting", "parked"),
    ("outbox", "parked"): ("waiting", "parked"),
}
"""The condition of the partial index that holds the rows of each state."""


def _count(table: Table, state: str) -> ScalarSelect[int]:
    indexed = t.in_state(table, *_INDEXED[table.name, state])
    return select(func.count()).select_from(table).where(indexed, t.in_state(table, state)).scalar_subquery()


def _tell(backlog: Backlog) -> None:
    for state, count in backlog.deliveries.items():
        metrics.OPEN.labels(state=state).set(count)
    for state, count in backlog.messages.items():
        metrics.UNSENT.labels(state=state).set(count)
    metrics.OLDEST_S.set(backlog.oldest_s)
