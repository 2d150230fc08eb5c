"""Work goes on while lanes change hands: nothing is lost, nothing is done twice, each key keeps its order."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hub.capability import HandlerSpec, handler
from hub.clock import SystemClock
from hub.deliver.context import Context
from hub.deliver.worker import Worker
from hub.event import Event
from hub.ownership.holding import DELIVER
from hub.ownership.member import Member
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import give, message, route, routing
from tests.support.parts import Parts, assemble
from tests.support.patience import until

KEYS, EACH = 30, 20
ROUTES = routing(route("step", "step", match="step"))


@handler
async def step(event: Event, ctx: Context) -> None:
    await ctx.emit("stepped", {"n": event.data["n"]}, key=event.key)
    # A batch that takes a while, so that lanes are asked for while it is under way.
    await asyncio.sleep(0)


HANDLERS: dict[str, HandlerSpec] = {"step": step}


class Hand:
    """A worker beside others, with a store of its own as another process would have."""

    def __init__(self, parts: Parts, store: Store) -> None:
        self.member = Member(store, parts.clock, [DELIVER], look_s=0.02, lease_s=3.0)
        self.worker = Worker(
            parts.around,
            lambda: parts.rules,
            self.member.holdings[DELIVER],
            to_deliver=parts.to_deliver,
            to_publish=parts.to_publish,
            batch_size=20,
            sweep_s=0.02,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.member.join()
        self._tasks = [asyncio.create_task(self.member.run()), asyncio.create_task(self.worker.run())]

    @property
    def lanes(self) -> int:
        """How many it has. Raises what has ended it, if anything."""
        for task in self._tasks:
            if task.done():
                task.result()
        return len(self.member.holdings[DELIVER].lanes)

    async def stop(self) -> None:
        self.worker.stop()
        self.member.stop()
        await asyncio.gather(*self._tasks)
        await self.member.leave()

    async def die(self) -> None:
        """In the middle of whatever it does; its lease goes on for a while."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def hand(database_url: str) -> AsyncIterator[Hand]:
    store = Store.open(database_url, pool_size=4)
    try:
        async with assemble(store, ROUTES, HANDLERS, clock=SystemClock(), start=False) as parts:
            one = Hand(parts, store)
            await one.start()
            yield one
    finally:
        await store.close()


async def send_all(parts: Parts) -> None:
    """All messages, those of a key in order, in small transactions."""
    for number in range(EACH):
        keys = [f"key-{key}" for key in range(KEYS)]
        random.Random(number).shuffle(keys)
        await give(parts, *(message("step", {"key": key, "n": number}, f"{key}-{number}") for key in keys))


async def stepped(store: Store) -> dict[str, list[int]]:
    """What was emitted for each key, in the order in which it was accepted."""
    made: dict[str, list[int]] = defaultdict(list)
    async with store.reading() as conn:
        query = t.inbox.select().where(t.inbox.c.type == "stepped").order_by(t.inbox.c.seq)
        for row in await conn.execute(query):
            made[row.key].append(json.loads(row.payload)["n"])
    return made


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("end", ["in order", "suddenly"])
async def test_order_holds_while_workers_come_and_go_under_load(database_url: str, store: Store, end: str) -> None:
    async with assemble(store, ROUTES, HANDLERS, start=False) as parts:
        sending = asyncio.create_task(send_all(parts))
        async with hand(database_url) as first:
            async with hand(database_url) as second, hand(database_url) as third:
                await until(lambda: all(84 <= one.lanes <= 86 for one in (first, second, third)))
                await (second.stop() if end == "in order" else second.die())
                await until(lambda: first.lanes == 128)
                await third.stop()
                await until(lambda: first.lanes == 256)
                await sending

                async def is_done() -> bool:
                    return not await parts.count("ready", "waiting", "retrying", "calling")

                await until(is_done)
            await first.stop()

    made = await stepped(store)
    assert made == {f"key-{key}": list(range(EACH)) for key in range(KEYS)}
