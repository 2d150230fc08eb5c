"""Consuming one subscription: read, batch, hand over, acknowledge; keep the leases of what is in hand meanwhile.

A batch whose handler raised is kept, with its leases, and handed over again after a pause: to give it back each time
would count as a delivery attempt, and a database that is away for a minute would fill the dead-letter topic.

Source: docs/pubsub.md, "Reading"; docs/guarantees.md, G1.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog
from google.pubsub_v1 import types

from hub.clock import Clock
from hub.signal import is_set_within
from hub.transports.base import OnBatch
from hub.transports.pubsub import metrics
from hub.transports.pubsub.address import PubSubAddress
from hub.transports.pubsub.clients import Clients
from hub.transports.pubsub.hand import Hand, Held
from hub.transports.pubsub.leases import Leases, Said
from hub.transports.pubsub.stream import PullStream

HOLD_S_MAX: Final = 600.0
"""How long a batch that cannot be stored is kept from other consumers."""
PAUSE_S_MIN: Final = 0.1
PAUSE_S_MAX: Final = 5.0
ACK_TRIES_MAX: Final = 5
ACK_PAUSE_S: Final = 0.2
LEAVE_S_MAX: Final = 5.0
"""How long the last acknowledgements may take, and giving back what was not handed over."""

log = structlog.get_logger(__name__)


class Consumer:
    """One ``consume`` of one queue."""

    def __init__(
        self,
        address: PubSubAddress,
        clients: Clients,
        clock: Clock,
        queue: str,
        *,
        client_id: str,
        takes: Callable[[str], bool],
    ) -> None:
        self._address = address
        self._clock = clock
        self._queue = queue
        self._client_id = client_id
        self._takes = takes
        self._hand = Hand(messages_max=address.outstanding_messages, bytes_max=address.outstanding_bytes)
        self._leases = Leases(clients.subscriber, address.subscription(queue))
        self._stream = PullStream(clients.subscriber, self._hand, clock, queue=queue, first=self._first_request)
        self._safe: deque[Held] = deque()
        self._safe_arrived = asyncio.Event()
        self._all_acknowledged = asyncio.Event()
        self._all_acknowledged.set()

    async def run(self, on_batch: OnBatch, *, stopping: asyncio.Event, batch_size: int) -> None:
        """Hand out batches until ``stopping`` is set; then acknowledge what is safe and give back the rest."""
        keeping: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                keeping = [group.create_task(self._acknowledge()), group.create_task(self._extend())]
                reading = group.create_task(self._stream.run())
                await self._hand_over(on_batch, stopping, batch_size)
                reading.cancel()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEAVE_S_MAX):
                        await self._all_acknowledged.wait()
                for task in keeping:
                    task.cancel()
        finally:
            await self._leave()

    async def _hand_over(self, on_batch: OnBatch, stopping: asyncio.Event, batch_size: int) -> None:
        stopped = asyncio.ensure_future(stopping.wait())
        try:
            while not stopping.is_set():
                arrived = asyncio.ensure_future(self._hand.arrived.wait())
                try:
                    await asyncio.wait({arrived, stopped}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    arrived.cancel()
                batch = [] if stopping.is_set() else self._wanted(self._hand.next_batch(batch_size))
                if batch and await self._offer(batch, on_batch, stopping):
                    self._is_safe(batch)
        finally:
            stopped.cancel()

    def _wanted(self, batch: Sequence[Held]) -> list[Held]:
        """Those that the queue's patterns name; the others are acknowledged unread, as no broker did it for us."""
        excluded = [held for held in batch if not self._takes(held.delivered.routing_key)]
        if not excluded:
            return list(batch)
        metrics.EXCLUDED.labels(queue=self._queue).inc(len(excluded))
        self._is_safe(excluded)
        out = set(excluded)
        return [held for held in batch if held not in out]

    async def _offer(self, batch: Sequence[Held], on_batch: OnBatch, stopping: asyncio.Event) -> bool:
        """True when the batch is safe; False when it is given back, by the stop or after too long a time."""
        end = asyncio.get_running_loop().time() + HOLD_S_MAX
        pause_s = 0.0
        while True:
            try:
                await on_batch([held.delivered for held in batch])
            except Exception as error:
                # Whatever it raised: the batch is not safe.
                pause_s = min(PAUSE_S_MAX, max(PAUSE_S_MIN, pause_s * 2))
                log.warning("queue_paused", queue=self._queue, error=type(error).__name__, pause_s=pause_s)
            else:
                return True
            if await is_set_within(stopping, pause_s * self._clock.jitter()):
                return False
            if asyncio.get_running_loop().time() >= end:
                await self._give_back()
                return False

    def _is_safe(self, batch: Sequence[Held]) -> None:
        self._safe.extend(batch)
        self._safe_arrived.set()
        self._all_acknowledged.clear()

    async def _acknowledge(self) -> None:
        """Acknowledge what is safe, beside the next batch. What gathers meanwhile goes in one request."""
        while True:
            await self._safe_arrived.wait()
            self._safe_arrived.clear()
            batch = list(self._safe)
            self._safe.clear()
            sent = {held.ack_id: held for held in batch}
            said = await self._leases.acknowledge(list(sent))
            again = self._settle(sent, said)
            if again:
                self._safe.extend(again)
                await asyncio.sleep(ACK_PAUSE_S * self._clock.jitter())
                self._safe_arrived.set()
            elif not self._safe:
                self._all_acknowledged.set()

    def _settle(self, sent: dict[str, Held], said: Said) -> list[Held]:
        """Let go of what is decided; the answer is what has to be acknowledged once more."""
        again: list[Held] = []
        counts = {"confirmed": 0, "stale": 0, "given_up": 0}
        undecided = set(said.undecided)
        stale = set(said.stale)
        for ack_id, held in sent.items():
            held.tries += 1
            # A newer ack id came while this one was on its way: only that one counts now.
            if (ack_id in undecided or held.ack_id != ack_id) and held.tries < ACK_TRIES_MAX:
                again.append(held)
                continue
            # The message of a stale one comes again; the inbox knows it by its identity.
            counts["given_up" if ack_id in undecided else "stale" if ack_id in stale else "confirmed"] += 1
            self._hand.let_go([held])
        for result, count in counts.items():
            if count:
                metrics.ACKNOWLEDGED.labels(queue=self._queue, result=result).inc(count)
        return again

    async def _extend(self) -> None:
        """Keep the leases of everything in hand, well before they end."""
        while True:
            await asyncio.sleep(self._address.ack_deadline_s / 3)
            metrics.IN_HAND.labels(queue=self._queue).set(len(self._hand))
            if ack_ids := self._hand.ack_ids:
                said = await self._leases.extend(ack_ids, self._address.ack_deadline_s)
                self._hand.lose(said.stale)

    async def _give_back(self) -> None:
        ack_ids = self._hand.give_back()
        if ack_ids:
            await self._leases.extend(ack_ids, 0)

    async def _leave(self) -> None:
        """Give back what was not handed over, or whose batch did not return: it comes again at once, to anybody."""
        try:
            async with asyncio.timeout(LEAVE_S_MAX):
                await self._give_back()
        except TimeoutError:
            log.warning("pubsub_not_given_back", queue=self._queue)
        metrics.IN_HAND.labels(queue=self._queue).set(0)

    def _first_request(self) -> types.StreamingPullRequest:
        return types.StreamingPullRequest(
            subscription=self._address.subscription(self._queue),
            stream_ack_deadline_seconds=self._address.ack_deadline_s,
            client_id=self._client_id,
            max_outstanding_messages=self._address.outstanding_messages,
            max_outstanding_bytes=self._address.outstanding_bytes,
        )
