"""What waits for a person, counted: the numbers beside the navigation and the verdict on the first page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Select, func, select

from hub.operate.parked import PARKED
from hub.operate.pulse import Pulse, read_pulse
from hub.operate.undecided import COUNT_MAX, LATE_S, count_late
from hub.operate.watch import count_reviews
from hub.store import tables as t

if TYPE_CHECKING:
    from hub.app import Hub

FRESH_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of each sort wait for a person, up to ``COUNT_MAX``."""

    parked: int
    unsent: int
    undecided: int
    reviews: int
    conflicts: int


class Worklist:
    """The counts, read anew when they are older than ``FRESH_S``."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._counts: Counts | None = None
        self._until = 0.0
        self._pulse: Pulse | None = None
        self._pulse_until = 0.0

    async def counts(self) -> Counts:
        """How many wait."""
        clock = self._hub.clock
        if self._counts is None or clock.monotonic() >= self._until:
            self._counts = await self._read()
            self._until = clock.monotonic() + FRESH_S
        return self._counts

    async def pulse(self) -> Pulse:
        """What comes and goes, for all who look at this moment."""
        clock = self._hub.clock
        if self._pulse is None or clock.monotonic() >= self._pulse_until:
            self._pulse = await read_pulse(self._hub.store, clock.now())
            self._pulse_until = clock.monotonic() + FRESH_S
        return self._pulse

    def changed(self) -> None:
        """Somebody has just acted: count again."""
        self._until = 0.0

    async def badges(self) -> Mapping[str, int]:
        """The counts by the names that groups of pages know them by."""
        counts = await self.counts()
        return {
            "parked": counts.parked + counts.unsent,
            "undecided": counts.undecided,
            "reviews": counts.reviews,
            "conflicts": counts.conflicts,
        }

    async def _read(self) -> Counts:
        late = self._hub.clock.now() - timedelta(seconds=LATE_S)
        unsent = (t.in_state(t.outbox, "waiting", "parked"), t.in_state(t.outbox, "parked"))
        async with self._hub.store.reading() as conn:
            return Counts(
                parked=await conn.scalar(_few(select(t.deliveries.c.id).where(*PARKED))) or 0,
                unsent=await conn.scalar(_few(select(t.outbox.c.seq).where(*unsent))) or 0,
                undecided=await count_late(conn, late),
                reviews=await count_reviews(conn),
                conflicts=await conn.scalar(_few(select(t.conflicts.c.id).where(t.conflicts.c.state == "open"))) or 0,
            )


def _few(query: Select[*tuple[Any, ...]]) -> Select[int]:
    return select(func.count()).select_from(query.limit(COUNT_MAX).subquery())
