"""How long the lists are that people work through, for metrics: calls in doubt, and results on the review list.

Only open rows are read, and no more than ``COUNT_MAX`` of a kind, so history costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from prometheus_client import Gauge
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.operate.closing import close_answered
from hub.operate.undecided import COUNT_MAX, IS_UNDECIDED, LATE_S
from hub.signal import is_set_within
from hub.store import tables as t
from hub.store.store import Store
from hub.store.words import words_for_logs

LOOK_S: Final = 30.0

UNDECIDED = Gauge(
    "hub_calls_undecided", "Calls that are without an outcome for longer than a minute", ["provider", "state"]
)
OLDEST_S = Gauge(
    "hub_calls_undecided_oldest_seconds", "How long the oldest of them has been without", ["provider", "state"]
)
REVIEWS = Gauge("hub_reviews_open", "Results on the review list that nobody has resolved")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Undecided:
    """Calls of one provider in one state that nobody has answered for."""

    provider: str
    state: str
    count: int
    oldest: datetime


class ListsWatch:
    """Looks at the lists from time to time and tells Prometheus."""

    def __init__(self, store: Store, clock: Clock, *, look_s: float = LOOK_S) -> None:
        self._store = store
        self._clock = clock
        self._look_s = look_s

    async def run(self, stopping: asyncio.Event) -> None:
        """Look until ``stopping`` is set."""
        while not stopping.is_set():
            try:
                await self.look()
            except StoreUnavailableError as error:
                log.warning("lists_unknown", error=str(error))
            await is_set_within(stopping, self._look_s)

    async def look(self) -> None:
        """Look once, and take from the list what handlers have answered for. Raises StoreUnavailableError."""
        try:
            await close_answered(self._store, self._clock)
        except DBAPIError as error:
            # They are closed the next time; figures are more urgent.
            log.warning("calls_not_closed", error=words_for_logs(error))
        now = self._clock.now()
        async with self._store.reading() as conn:
            undecided, reviews = await read_undecided(conn, now), await count_reviews(conn)
        # What is decided has no figure any more; nothing is awaited in between, so no scrape sees half of it.
        UNDECIDED.clear()
        OLDEST_S.clear()
        for one in undecided:
            UNDECIDED.labels(provider=one.provider, state=one.state).set(one.count)
            OLDEST_S.labels(provider=one.provider, state=one.state).set((now - one.oldest).total_seconds())
        REVIEWS.set(reviews)


async def read_undecided(conn: AsyncConnection, now: datetime) -> Sequence[Undecided]:
    """Calls in doubt. Where the delivery is done, its capability goes on asking, and says so itself."""
    late = (
        select(t.calls.c.provider, t.calls.c.state, t.calls.c.started_at)
        .join(t.deliveries, t.deliveries.c.id == t.calls.c.delivery_id)
        .where(IS_UNDECIDED, t.calls.c.started_at < now - timedelta(seconds=LATE_S))
        .order_by(t.calls.c.started_at)
        .limit(COUNT_MAX)
        .subquery()
    )
    query = (
        select(late.c.provider, late.c.state, func.count().label("number"), func.min(late.c.started_at).label("oldest"))
        .group_by(late.c.provider, late.c.state)
        .order_by(late.c.provider, late.c.state)
    )
    return [Undecided(row.provider, row.state, row.number, row.oldest) for row in await conn.execute(query)]


async def count_reviews(conn: AsyncConnection) -> int:
    """Open entries of the review list."""
    few = select(t.reviews.c.delivery_id).where(t.in_state(t.reviews, "open")).limit(COUNT_MAX).subquery()
    return await conn.scalar(select(func.count()).select_from(few)) or 0
