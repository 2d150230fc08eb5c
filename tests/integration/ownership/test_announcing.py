"""What a person's command makes is told to the owners of its lanes, with its commit: nobody has to look."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import insert

from hub.api import HubApi
from hub.cli.opening import Look
from hub.cli.publish import _accept
from hub.event import lane_of
from hub.inbox.received import Received
from hub.operate.parked import discard, edit, retry
from hub.operate.replay import replay
from hub.outbox.parked import discard_message
from hub.ownership.announcing import CHANNEL
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.operate.desk import NOTE, Desk
from tests.support.clock import SettableClock
from tests.support.patience import STILL_S_MAX


class Heard:
    """What is said on the wire between the processes."""

    def __init__(self) -> None:
        self._news: asyncio.Queue[Any] = asyncio.Queue()

    def hear(self, *said: object) -> None:
        self._news.put_nowait(json.loads(str(said[-1])))

    async def next(self) -> Any:
        async with asyncio.timeout(STILL_S_MAX):
            return await self._news.get()


@asynccontextmanager
async def listening(store: Store) -> AsyncIterator[Heard]:
    url = store.writer.url
    heard = Heard()
    connection = await asyncpg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database
    )
    try:
        await connection.add_listener(CHANNEL, heard.hear)
        yield heard
    finally:
        await connection.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_a_command_makes_is_told_to_the_owners_of_its_lanes(store: Store, clock: SettableClock) -> None:
    desk = Desk(store, clock)
    await desk.use(NOTE)
    by: Any = {"actor": "ana", "reason": "a try"}
    lane = lane_of("customer-1")
    async with listening(store) as heard:
        event = await parked(desk, 1)
        await retry(store, clock, str(event), **by)
        assert await heard.next() == {"deliver": [lane]}

        await desk.park(event)
        mended = b'{"id": "order-1", "type": "order.made", "amount": 6}'
        await edit(store, clock, str(event), mended, rules=desk.rules, **by)
        assert await heard.next() == {"deliver": [lane]}

        await desk.park(event)
        await discard(store, clock, str(event), **by)
        assert await heard.next() == {"deliver": [lane]}

        again = await parked(desk, 2)
        await replay(store, clock, [str(again)], desk.rules, apply=True, **by)
        assert await heard.next() == {"deliver": [lane]}

        await store.write(lambda conn: conn.execute(insert(t.outbox), [MESSAGE]))
        await discard_message(store, clock, 1, **by)
        assert await heard.next() == {"relay": [7]}

        body = b'{"id": "order-3", "type": "order.made", "key": "customer-1", "amount": 1}'
        look = Look(cast(Any, None), desk.wiring, store, clock)
        await _accept(look, Received(source="shop", body=body))
        assert await heard.next() == {"deliver": [lane]}

        hub = SimpleNamespace(
            wiring=desk.wiring,
            rules=desk.rules,
            store=store,
            clock=clock,
            to_deliver=set(),
            wakeups=SimpleNamespace(is_started=False),
        )
        hub.to_deliver = SimpleNamespace(add=lambda lanes: None)
        await HubApi(cast(Any, hub)).accept([Received(source="shop", body=body.replace(b"order-3", b"order-4"))])
        assert await heard.next() == {"deliver": [lane]}


async def parked(desk: Desk, number: int) -> UUID:
    event = await desk.event(number)
    await desk.park(event)
    return event


MESSAGE = {
    "seq": 1,
    "message_id": "m-1",
    "delivery_id": 1,
    "event_id": UUID(int=1),
    "destination": "out",
    "routing_key": "a",
    "key": None,
    "lane": 7,
    "chain": 7,
    "content_type": "",
    "payload": b"",
    "headers": {},
    "state": "parked",
    "attempts": 1,
    "created_at": SettableClock().now(),
}
