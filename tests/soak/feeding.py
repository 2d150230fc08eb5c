"""What the hub is fed with: the events and flows of all systems, by the senders of ``tests/faults/kills``.

Without a broker everything comes by HTTP, and the embedded queues are emptied by hand.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from hub.clock import SystemClock
from hub.errors import StoreUnavailableError, UsageError
from hub.store.store import Store
from hub.transports.local import LocalTransport
from tests.faults.kills.consumers import MEMBERS, QUEUES
from tests.faults.kills.flows import PRICE, SYMBOL, Flows
from tests.faults.kills.loymax import BATCH_MAX, BY_HTTP, MEMBERS_EACH, Loymax
from tests.simulation.world import bearer

LOOK_S: Final = 0.2
AT_ONCE: Final = 500
SENDERS: Final = 2 * BY_HTTP


class LoymaxByHttp(Loymax):
    """Every event comes in a batch by ``POST /events``."""

    async def run(self) -> None:
        """Send all of it."""
        async with asyncio.TaskGroup() as group:
            for sender in range(SENDERS):
                members = range(100 + sender * MEMBERS_EACH, 100 + (sender + 1) * MEMBERS_EACH)
                group.create_task(self._go_on(members, self._by_http, BATCH_MAX))


class FlowsByHttp(Flows):
    """Every order comes by HTTP."""

    async def _order(self, user: str, name: str) -> None:
        items = [{"symbol_id": SYMBOL, "price": PRICE, "license_days": 30}]
        self.orders[name] = user
        headers = {**bearer(user), "Idempotency-Key": name}
        await self._command("/api/seapay/symbol/orders/", {"items": items, "payment_method": "wallet"}, headers)


class EmbeddedConsumers:
    """Reads the embedded queues and acknowledges what it has read, as a program beside the hub does."""

    def __init__(self, store: Store) -> None:
        self.counts: Counter[str] = Counter()
        self._queues = LocalTransport(store, SystemClock())

    @property
    def events_told(self) -> int:
        """How many of Loymax' events have come."""
        return sum(self.counts[queue] for queue in MEMBERS)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            came = 0
            for queue in QUEUES:
                # A busy writer is asked again with the next round.
                with suppress(StoreUnavailableError, UsageError):
                    messages = await self._queues.queue_read(queue, limit=AT_ONCE)
                    gone = await self._queues.queue_ack(queue, [one.message_id for one in messages]) if messages else []
                    self.counts[queue] += len(gone)
                    came += len(gone)
            if not came:
                await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def emptying(store: Store) -> AsyncIterator[EmbeddedConsumers]:
    """Consumers that read for the time of the block."""
    consumers = EmbeddedConsumers(store)
    task: asyncio.Task[Any] = asyncio.create_task(consumers.run(), name="consumers")
    try:
        yield consumers
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
