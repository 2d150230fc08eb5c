"""A hub in a test: the real parts on a real database, with handlers and rules of the test's own.

``assemble`` opens the parts that one process of the hub has, without HTTP; ``Parts.settle`` drives them until nothing
can run any more, so that a test waits for a condition and never for a time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from hub.capability import Capability, HandlerSpec
from hub.clock import Clock, SystemClock
from hub.deliver.context import Surroundings
from hub.deliver.registry import Rules
from hub.deliver.worker import Worker
from hub.event import LANES
from hub.flow.flow import Flow
from hub.inbox.accept import GroupCommit
from hub.inbox.drafting import CompiledSource, Drafter
from hub.inbox.received import Accepted, Received
from hub.inbox.route_ids import register_routes
from hub.ingress.schemes import SchemeRegistry
from hub.ownership.holding import DELIVER, Holding
from hub.ownership.member import Member
from hub.routing import EventReader, Known, Router, load_text
from hub.schedule.scheduler import Scheduler
from hub.signal import LaneSignal
from hub.store import tables as t
from hub.store.store import Store
from hub.wiring import Capabilities, Wiring
from tests.support.owning import alone
from tests.support.patience import until

SOURCES = """
version: 1
sources:
  shop:
    queue: { name: shop.in }
    event: { type: routing_key, key: data.key, after: [data.after, data.after.0, data.after.1], id: message.message_id }
"""


class Parts:
    """The parts of one process. ``worker`` runs in the background once ``start`` was called."""

    def __init__(self, store: Store, wiring: Wiring, rules: Rules, clock: Clock, settings: Mapping[str, Any]) -> None:
        self.store = store
        self.wiring = wiring
        self.rules = rules
        self.clock = clock
        self.to_deliver, self.to_publish = LaneSignal(), LaneSignal()
        self.around = Surroundings(
            store=store,
            clock=clock,
            drafter=lambda: self.wiring.drafter,
            destinations=lambda: self.wiring.destinations,
            settings_of=settings.get,
            flow=Flow(store, clock, lambda: self.wiring.providers),
        )
        self.inbox = GroupCommit(
            store,
            clock,
            lambda: self.wiring.drafter,
            lambda: self.rules.route_ids,
            self.to_deliver,
            recent=self.around.recent_events,
        )
        self.scheduler = Scheduler(
            store,
            clock,
            drafter=lambda: self.wiring.drafter,
            route_ids=lambda: self.rules.route_ids,
            schedules=lambda: self.wiring.schedules,
            to_deliver=self.to_deliver,
        )
        self.member: Member | None = None
        self.holding: Holding | None = None
        self.worker: Worker | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, *, batch_size: int = 100, sweep_s: float = 0.02) -> None:
        """Begin to accept and to deliver."""
        self._tasks.append(asyncio.create_task(self.inbox.run()))
        self.member = await alone(self.store, self.clock, [DELIVER])
        self.holding = self.member.holdings[DELIVER]
        self.worker = Worker(
            self.around,
            lambda: self.rules,
            self.holding,
            to_deliver=self.to_deliver,
            to_publish=self.to_publish,
            batch_size=batch_size,
            sweep_s=sweep_s,
        )
        self._tasks.append(asyncio.create_task(self.worker.run()))

    async def stop(self) -> None:
        self.inbox.stop()
        if self.worker is not None:
            self.worker.stop()
            await self.worker.callers.finish(5.0)
        await asyncio.gather(*self._tasks)

    async def send(self, type_: str, body: Mapping[str, Any] | bytes = b"{}", **received: Any) -> Accepted:
        """Accept one message of the source ``shop`` (or ``source=``)."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.inbox.accept(Received(**{"source": "shop", "body": data, "routing_key": type_, **received}))

    async def settle(self, *, also: frozenset[str] = frozenset()) -> None:
        """Wait until no delivery is ready, waiting, calling or retrying (states in ``also`` may stay)."""
        busy = {"ready", "waiting", "calling", "retrying"} - also
        self.to_deliver.add(range(LANES))

        async def is_settled() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            return not await self.count(*busy)

        await until(is_settled, "everything to be settled", moves=self.progress)

    async def progress(self) -> list[Any]:
        """Changes as long as deliveries run: for ``until``."""
        async with self.store.reading() as conn:
            query = select(t.deliveries.c.state, func.count()).group_by(t.deliveries.c.state)
            return sorted(tuple(row) for row in await conn.execute(query))

    async def count(self, *states: str) -> int:
        async with self.store.reading() as conn:
            query = select(t.deliveries.c.id).where(t.deliveries.c.state.in_(states))
            return len((await conn.execute(query)).all())

    async def deliveries(self, event_id: UUID | None = None) -> list[Any]:
        """Rows of deliveries, in order of acceptance, with the name of their route."""
        query = (
            select(t.deliveries, t.routes.c.name.label("route"))
            .outerjoin(t.routes, t.routes.c.id == t.deliveries.c.route_id)
            .order_by(t.deliveries.c.id)
        )
        if event_id is not None:
            query = query.where(t.deliveries.c.event_id == event_id)
        async with self.store.reading() as conn:
            return list(await conn.execute(query))

    async def rows(self, table: Any) -> list[Any]:
        async with self.store.reading() as conn:
            return list(await conn.execute(select(table)))


def wiring_of(
    routing: str, handlers: Mapping[str, HandlerSpec], clock: Clock, *, schemas: Mapping[str, Any] | None = None
) -> Wiring:
    """Rules from text, with the test's own handlers as the capability ``test``."""
    capability = Capability(name="test", handlers=dict(handlers), schemas=dict(schemas or {}))
    full = {f"test.{name}": spec for name, spec in handlers.items()}
    known = Known(
        handlers=frozenset(full),
        schemes=frozenset(SchemeRegistry().names),
        schemas=frozenset(f"test.{name}" for name in schemas or {}),
    )
    loaded = load_text(routing, path=Path("routing.yaml"), environ={}, known=known)
    router = Router(loaded)
    sources = {
        name: CompiledSource(name, config, EventReader(config.event), None, None)
        for name, config in loaded.config.sources.items()
    }
    members = Capabilities((capability,), full, {f"test.{k}": v for k, v in (schemas or {}).items()}, SchemeRegistry())
    return Wiring(loaded, router, Drafter(router, sources, clock), members)


@asynccontextmanager
async def assemble(
    store: Store,
    routes: str,
    handlers: Mapping[str, HandlerSpec],
    *,
    clock: Clock | None = None,
    settings: Mapping[str, Any] | None = None,
    start: bool = True,
    batch_size: int = 100,
) -> AsyncIterator[Parts]:
    """The parts on this database, delivering; ``routes`` is what follows the sources in routing.yaml."""
    the_clock = clock or SystemClock()
    wiring = wiring_of(SOURCES + routes, handlers, the_clock)
    rules = wiring.rules(await store.write(lambda conn: register_routes(conn, wiring.router.routes)))
    parts = Parts(store, wiring, rules, the_clock, settings or {})
    if start:
        await parts.start(batch_size=batch_size)
    try:
        yield parts
    finally:
        if start:
            await parts.stop()


async def crash(parts: Parts) -> None:
    """End the parts as a dying process does: nothing is given up, nothing is settled, connections just go."""
    for task in parts._tasks:
        task.cancel()
    await asyncio.gather(*parts._tasks, return_exceptions=True)
    assert parts.worker is not None
    await parts.worker.callers.finish(0.0)
