"""Messages of a queue that have no id: one that is handed out again is recognised, two that look alike are two."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from hub.clock import SystemClock
from hub.inbox.accept import GroupCommit
from hub.inbox.consumer import QueueConsumer
from hub.inbox.received import Accepted, Received
from hub.store import tables as t
from hub.store.store import Store
from hub.transports import Delivered, LocalTransport, OutboundMessage, topology_of
from tests.support.parts import assemble
from tests.support.running import until

WITHOUT_IDS = """
destinations:
  in: { exchange: shop.feed, bind: { shop.in: "#" } }
routes: []
"""
BODIES = (b'{"card":"delete"}', b'{"card":"restore"}', b'{"card":"delete"}', b"{broken", b"{broken")


class DyingOnce(GroupCommit):
    """Stores the first batch and then fails to say so, as a process does that dies before it acknowledges."""

    has_died = False

    async def accept_all(self, messages: Sequence[Received]) -> list[Accepted]:
        accepted = await super().accept_all(messages)
        if not self.has_died:
            self.has_died = True
            raise ConnectionError("gone before the acknowledgement")
        return accepted


async def test_what_was_stored_but_not_acknowledged_is_not_stored_again(store: Store) -> None:
    clock = SystemClock()
    async with assemble(store, WITHOUT_IDS, {}, start=False) as parts:
        transport = LocalTransport(store, clock)
        await transport.declare(topology_of(parts.wiring.config))
        inbox = DyingOnce(store, clock, lambda: parts.wiring.drafter, lambda: parts.rules.route_ids, parts.to_deliver)
        await transport.publish([_message(number, body) for number, body in enumerate(BODIES)])
        stopping = asyncio.Event()
        # The carrier's id is hidden, as from a sender that gives none.
        consumer = _Anonymous("shop", "shop.in", transport, inbox)
        tasks = [asyncio.create_task(inbox.run()), asyncio.create_task(consumer.run(stopping))]
        await until(lambda: _is_empty(store))
        stopping.set()
        inbox.stop()
        await asyncio.gather(*tasks)

        assert [row.payload for row in await parts.rows(t.inbox)] == list(BODIES)
        assert len(await parts.rows(t.duplicates)) == len(BODIES)


class _Anonymous(QueueConsumer):
    def _received(self, delivered: Delivered) -> Received:
        return replace(super()._received(delivered), message_id="")


def _message(number: int, body: bytes) -> OutboundMessage:
    return OutboundMessage(
        message_id=f"m{number}",
        exchange="shop.feed",
        routing_key="card.changed",
        content_type="application/json",
        payload=body,
        headers={},
        key="c1",
    )


async def _is_empty(store: Store) -> bool:
    return not await LocalTransport(store, SystemClock()).queue_read("shop.in", limit=1)
