"""Inboxes of a test: accepting messages on a database, without anything that delivers them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock, SystemClock
from hub.event import Event
from hub.inbox.accept import GroupCommit
from hub.inbox.received import Accepted, Received
from hub.inbox.route_ids import register_routes
from hub.recent import Recent
from hub.signal import LaneSignal
from hub.store.store import Store, Work
from tests.support.parts import wiring_of

ROUTING = """
version: 1
sources:
  shop:
    queue: { name: shop.in }
    event: { type: routing_key, key: data.key, id: message.message_id }
  bank:
    webhook: { path: /webhooks/bank, auth: { scheme: none, allow_unauthenticated: true } }
    event: { type: bank.paid, id: data.id, same: [data.amount] }
destinations:
  out: { queue: out }
routes:
  - { name: forward, match: "#", publish: out }
"""


class CountingStore(Store):
    """A store that counts its commits, can be held up, and fails the next transactions as ``failures`` says."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.commits = 0
        self.failures: list[Exception | None] = []
        self.gate: asyncio.Event | None = None
        self.before_commit: Callable[[], None] = lambda: None

    async def write(self, work: Work[Any], **how: Any) -> Any:
        if self.gate is not None:
            await self.gate.wait()
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure

        async def watched(conn: AsyncConnection) -> Any:
            done = await work(conn)
            self.before_commit()
            return done

        result = await super().write(watched, **how)
        self.commits += 1
        return result


class Inbox:
    """One process's way in."""

    def __init__(self, store: Store, acceptor: GroupCommit, loop: asyncio.Task[None]) -> None:
        self.store = store
        self.acceptor = acceptor
        self.loop = loop

    async def send(self, body: Mapping[str, Any] | bytes, message_id: str = "", **received: Any) -> Accepted:
        """Accept one message of the source ``shop``."""
        return await self.acceptor.accept(message(body, message_id, **received))

    async def rows(self, table: Any) -> list[Any]:
        """What a table holds, in the order of its first column."""
        async with self.store.reading() as conn:
            return list(await conn.execute(select(table).order_by(next(iter(table.c)))))


def message(body: Mapping[str, Any] | bytes, message_id: str = "", **received: Any) -> Received:
    """A message of the source ``shop``, or of ``source=``."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"source": "shop", "body": data, "message_id": message_id, "routing_key": "order.placed"}
    return Received(**{**given, **received})


@asynccontextmanager
async def an_inbox(
    store: Store, *, queue_max: int = 2_000, clock: Clock | None = None, recent: Recent[Event] | None = None
) -> AsyncIterator[Inbox]:
    """An acceptor on this store, running."""
    clock = clock or SystemClock()
    wiring = wiring_of(ROUTING, {}, clock)

    async def number(conn: AsyncConnection) -> dict[str, int]:
        return await register_routes(conn, wiring.router.routes)

    rules = wiring.rules(await store.write(number))
    acceptor = GroupCommit(
        store,
        clock,
        lambda: wiring.drafter,
        lambda: rules.route_ids,
        LaneSignal(),
        queue_max=queue_max,
        recent=recent,
    )
    loop = asyncio.create_task(acceptor.run())
    try:
        yield Inbox(store, acceptor, loop)
    finally:
        acceptor.stop()
        await asyncio.wait({loop})
    if not loop.cancelled():
        loop.result()


def kinds(answers: list[Accepted]) -> Counter[str]:
    return Counter(answer.kind for answer in answers)
