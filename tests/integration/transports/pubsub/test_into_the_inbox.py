"""Messages without an id of their own: Pub/Sub's message id tells one that comes again from one that looks alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.clock import SystemClock
from hub.inbox.accept import GroupCommit
from hub.inbox.consumer import QueueConsumer
from hub.store import tables as t
from hub.store.store import Store
from hub.transports import topology_of
from hub.transports.pubsub import PubSubTransport
from tests.integration.transports.pubsub.shop import held
from tests.support.databases import Databases
from tests.support.parts import assemble
from tests.support.pubsub_server import PubSubServer
from tests.support.pubsub_server.subscriptions import PubsubMessage
from tests.support.running import until

WIRING = """
destinations:
  in: { exchange: shop.feed, bind: { shop.in: "#" } }
routes: []
"""
BODIES = (b'{"card":"delete"}', b'{"card":"restore"}', b'{"card":"delete"}', b"{broken", b"{broken")


@pytest.fixture
async def store(databases: Databases) -> AsyncIterator[Store]:
    address = await databases.fresh("sqlite")
    opened = Store.open(address)
    yield opened
    await opened.close()
    await databases.drop(address)


async def test_lost_acknowledgements_make_duplicates_and_no_second_events(
    store: Store, transport: PubSubTransport, server: PubSubServer
) -> None:
    async with assemble(store, WIRING, {}, start=False) as parts:
        await transport.declare(topology_of(parts.wiring.config))
        queue = held(server, "shop.in")
        for number, body in enumerate(BODIES, 1):
            queue.add(number, PubsubMessage(data=body, message_id=str(1_000 + number)))
        inbox = GroupCommit(
            store, SystemClock(), lambda: parts.wiring.drafter, lambda: parts.rules.route_ids, parts.to_deliver
        )
        stopping = asyncio.Event()
        consumer = QueueConsumer("shop", "shop.in", transport, inbox)
        server.faults.drops_acks = True
        tasks = [asyncio.create_task(inbox.run()), asyncio.create_task(consumer.run(stopping))]
        await until(lambda: sum(len(one.ack_ids) for one in server.requests("Acknowledge")) == len(BODIES))
        server.faults.clear()
        queue.expire_all()
        await until(lambda: not queue.entries)
        stopping.set()
        inbox.stop()
        await asyncio.gather(*tasks)

        assert [row.payload for row in await parts.rows(t.inbox)] == list(BODIES)
        assert len(await parts.rows(t.duplicates)) == len(BODIES)
