"""An outbox on a real database with a scripted broker, and what tests ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.effects import Effects, OutgoingMessage
from hub.deliver.unit import Owned, store_messages
from hub.event import uuid7
from hub.flow.flow import Flow
from hub.outbox import Relay
from hub.ownership.holding import RELAY, Holding
from hub.routing import DestinationConfig
from hub.signal import LaneSignal
from hub.store import tables as t
from hub.store.store import Store
from hub.transports import Transport
from tests.integration.outbox.broker import ScriptedBroker
from tests.support.clock import SettableClock
from tests.support.owning import alone

LONG_S = 3_600.0
"""Longer than any back-off."""
DRAIN_S = 120.0


class Bench:
    """One hub's outbox. A new ``relay`` is a new life of its process."""

    def __init__(self, store: Store, clock: SettableClock, broker: ScriptedBroker) -> None:
        self.store = store
        self.clock = clock
        self.broker = broker
        self.destinations: dict[str, DestinationConfig] = {
            "shop": DestinationConfig(queue="shop"),
            "bank": DestinationConfig(exchange="bank.events"),
        }
        self.flow = Flow(store, clock, dict)
        self._numbers = count(1)

    async def own(self) -> Holding:
        return (await alone(self.store, self.clock, [RELAY])).holdings[RELAY]

    async def relay(self, transport: Transport | None = None, **settings: Any) -> Relay:
        """A relay that has just taken over all lanes."""
        return Relay(
            self.store,
            self.clock,
            transport or self.broker,
            lambda: self.destinations,
            holding=await self.own(),
            signal=LaneSignal(),
            flow=self.flow,
            **settings,
        )

    async def put(self, *keys: str, to: str = "shop", body: bytes = b"{}") -> list[str]:
        """One message per key, stored as a delivery stores them. Returns their ids, such as ``anna-1``."""
        messages = [
            OutgoingMessage(
                message_id=f"{key}-{next(self._numbers)}",
                destination=to,
                routing_key="order.paid",
                key=key,
                content_type="application/json",
                payload=body,
                headers={"traceparent": "00-1-1-01"},
            )
            for key in keys
        ]

        owned = [Owned(place, uuid7(), Effects(messages=[one])) for place, one in enumerate(messages, start=1)]
        await self.store.write(lambda conn: store_messages(conn, owned, self.clock.now()))
        return [message.message_id for message in messages]

    async def settle(self, relay: Relay) -> None:
        """Send, letting every back-off pass, until nothing but parked chains is left."""
        for _ in range(50):
            await relay.drain(DRAIN_S)
            if not await self.backing_off():
                return
            self.clock.advance(LONG_S)
        raise AssertionError("the outbox does not come to rest")

    async def backing_off(self) -> int:
        async with self.store.reading() as conn:
            rows = await conn.execute(select(t.outbox_blocked.c.chain).where(t.outbox_blocked.c.state == "backoff"))
            return len(rows.all())

    async def states(self) -> dict[str, str]:
        """Each message's state."""
        async with self.store.reading() as conn:
            rows = await conn.execute(select(t.outbox.c.message_id, t.outbox.c.state).order_by(t.outbox.c.seq))
            return {row.message_id: row.state for row in rows}

    async def row(self, message_id: str) -> Any:
        async with self.store.reading() as conn:
            return (await conn.execute(select(t.outbox).where(t.outbox.c.message_id == message_id))).one()

    async def blocked(self) -> list[Any]:
        async with self.store.reading() as conn:
            return list((await conn.execute(select(t.outbox_blocked))).all())

    async def clear(self) -> None:
        """As new."""

        async def work(conn: AsyncConnection) -> None:
            for table in (t.outbox, t.outbox_blocked, t.leases, t.workers):
                await conn.execute(table.delete())

        await self.store.write(work)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(DRAIN_S):
        while not await condition():  # noqa: ASYNC110 - what is waited for lies in the database
            await asyncio.sleep(0)


def sent(ids: Sequence[str]) -> dict[str, str]:
    return dict.fromkeys(ids, "sent")
