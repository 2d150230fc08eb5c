"""The scheduler: turns due timers and due instants of schedules into accepted events.

An event and the removal of its timer commit together; an instant's identity is the instant, so replicas need no leader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.event import Event
from hub.inbox.draft import Draft
from hub.inbox.drafting import TIMER, Drafter
from hub.inbox.rows import store_drafts
from hub.jsonbody import write_json
from hub.routing import ScheduleConfig
from hub.routing.fields import SCHEDULE_PREFIX
from hub.schedule.instants import caught_up, due_instants, next_instant
from hub.signal import LaneSignal, is_set_within
from hub.store import tables as t
from hub.store.alone import read_alone
from hub.store.direct import Direct
from hub.store.store import Store
from hub.store.types import as_time
from hub.store.upserts import insert_for

TIMERS_PER_ROUND = 200
LOOK_S = 0.5
CATCH_UP_NONE_TOLERANCE_S = 60.0

log = structlog.get_logger(__name__)


class Scheduler:
    """Looks at the timers and the schedules twice a second. Any number of these may run."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        drafter: Callable[[], Drafter],
        route_ids: Callable[[], Mapping[str, int]],
        schedules: Callable[[], Mapping[str, ScheduleConfig]],
        to_deliver: LaneSignal,
        look_s: float = LOOK_S,
    ) -> None:
        self._store = store
        self._clock = clock
        self._drafter = drafter
        self._route_ids = route_ids
        self._schedules = schedules
        self._to_deliver = to_deliver
        self._look_s = look_s
        self._stopping = asyncio.Event()
        self._next: dict[str, tuple[ScheduleConfig, datetime | None]] = {}
        """When each schedule, as it was written then, is due next; until then nobody need be asked."""

    async def run(self) -> None:
        """Look until ``stop``."""
        while not self._stopping.is_set():
            try:
                await self.fire_timers()
                for name, config in self._schedules().items():
                    await self.fire_schedule(name, config)
            except StoreUnavailableError as error:
                log.warning("schedule_paused", error=str(error))
            await is_set_within(self._stopping, self._look_s)

    def stop(self) -> None:
        """Look no more; what is under way comes to its end."""
        self._stopping.set()

    async def fire_timers(self) -> int:
        """Turn every due timer into an event; answers how many there were."""
        fired = 0
        while not self._stopping.is_set() and await self._has_due_timer():
            events = await self._store.write(self._fire_some)
            self._tell(events)
            fired += len(events)
            if not events:
                # Another replica is at them.
                break
        return fired

    async def _has_due_timer(self) -> bool:
        # Looking costs no write: an idle hub must not fill the disk.
        now = as_time(self._store.dialect, self._clock.now())
        return bool(await read_alone(self._store, _ANY_DUE, now))

    async def _fire_some(self, conn: AsyncConnection) -> list[Event]:
        # Deleted exactly by id with the rows returned: of two replicas, one gets each timer.
        due = (
            select(t.timers.c.id)
            .where(t.timers.c.due_at <= self._clock.now())
            .order_by(t.timers.c.due_at)
            .limit(TIMERS_PER_ROUND)
            .with_for_update(skip_locked=True)
        )
        ids = [row[0] for row in await conn.execute(due)]
        rows = list(await conn.execute(delete(t.timers).where(t.timers.c.id.in_(ids)).returning(t.timers)))
        rows.sort(key=lambda row: (row.due_at, row.id))
        drafter = self._drafter()
        drafts = [
            drafter.internal(
                row.type,
                row.payload,
                source=TIMER,
                key=row.key,
                dedupe_id=row.dedupe_id,
                traceparent=row.traceparent,
                hops=row.hops,
                cause=row.cause,
            )
            for row in rows
        ]
        return await self._stored(conn, drafts, self._clock.now())

    async def fire_schedule(self, name: str, config: ScheduleConfig) -> int:
        """Turn the due instants of one schedule into events; answers how many."""
        now = self._clock.now()
        known, next_at = self._next.get(name, (None, None))
        if known == config and (next_at is None or now < next_at):
            # However far others have come meanwhile: they have not gone back.
            return 0
        last = await self._last_instant(name)
        if last is None:
            await self._store.write(lambda conn: _remember(conn, name, now))
            self._next[name] = config, next_instant(config, now)
            return 0
        missed = due_instants(config, after=last, until=now)
        if not missed:
            self._next[name] = config, next_instant(config, last)
            return 0
        instants = caught_up(config, missed, now=now, tolerance_s=CATCH_UP_NONE_TOLERANCE_S)

        async def work(conn: AsyncConnection) -> list[Event]:
            drafter = self._drafter()
            drafts = [
                drafter.internal(
                    config.emit,
                    _body(config, instant),
                    source=f"{SCHEDULE_PREFIX}{name}",
                    key=config.key,
                    dedupe_id=instant.isoformat(),
                )
                for instant in instants
            ]
            events = await self._stored(conn, drafts, now)
            await _remember(conn, name, missed[-1])
            return events

        events = await self._store.write(work)
        self._next[name] = config, next_instant(config, missed[-1])
        self._tell(events)
        return len(events)

    async def _stored(self, conn: AsyncConnection, drafts: Sequence[Draft], now: datetime) -> list[Event]:
        if not drafts:
            return []
        return [event for _, event in await store_drafts(conn, drafts, route_ids=self._route_ids(), now=now)]

    def _tell(self, events: Sequence[Event]) -> None:
        """Name their lanes, now that they are committed: before that, a worker would look and find nothing."""
        self._to_deliver.add({event.lane for event in events})

    async def _last_instant(self, name: str) -> datetime | None:
        async with self._store.reading() as conn:
            query = select(t.schedules.c.last_at).where(t.schedules.c.name == name)
            return (await conn.execute(query)).scalar_one_or_none()


_ANY_DUE = Direct(
    postgresql="SELECT id FROM timers WHERE due_at <= $1::timestamptz LIMIT 1",
    sqlite="SELECT id FROM timers WHERE due_at <= ? LIMIT 1",
)


async def _remember(conn: AsyncConnection, name: str, instant: datetime) -> None:
    new = insert_for(conn.dialect.name, t.schedules).values(name=name, last_at=instant)
    # Never backwards: a replica that is late must not bring old instants back.
    later = new.on_conflict_do_update(
        index_elements=["name"],
        set_={"last_at": new.excluded.last_at},
        where=t.schedules.c.last_at < new.excluded.last_at,
    )
    await conn.execute(later)


def _body(config: ScheduleConfig, instant: datetime) -> bytes:
    body = {**config.data, "scheduled_at": instant.isoformat().replace("+00:00", "Z")}
    return write_json(body).encode()
