"""RabbitMQ behind the hub's interface. Begin here; ``link.py`` is the connection below it.

Two connections, one to read and one to send: a broker short of memory or disk stops reading from connections that
publish, and the acknowledgements of what was read must not wait behind them. Source: docs/rabbitmq.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from hub.errors import ConfigError
from hub.store.store import Store
from hub.transports.base import (
    CONSUME_BATCH_MAX,
    PUBLISH_TIMEOUT_S,
    Ability,
    OnBatch,
    OnProven,
    OutboundMessage,
    PlanItem,
    PublishResult,
    QueuedMessage,
    QueueInfo,
    TransportUnavailableError,
)
from hub.transports.rabbit.consuming import Consumer, Reading
from hub.transports.rabbit.counting import counted, counted_publishing
from hub.transports.rabbit.declaring import Declarer
from hub.transports.rabbit.link import RPC_S_MAX, Link
from hub.transports.rabbit.objects import Objects, objects_of, queue_names
from hub.transports.rabbit.publishing import Publisher
from hub.transports.rabbit.reading import Reader
from hub.transports.rabbit.record import BindingRecord
from hub.transports.topology import Topology

REDECLARE_S_MIN: Final = 1.0
"""A topology that was just repaired is not repaired again at once, however many messages find no queue."""

log = structlog.get_logger(__name__)


class RabbitTransport:
    """One process's view of a RabbitMQ virtual host. Nothing is connected before the first call."""

    abilities = frozenset(
        {
            Ability.ORDERS_PER_KEY,
            Ability.RETURNS_UNROUTABLE,
            Ability.REDELIVERED_FLAG,
            Ability.REFUSES_MISMATCH,
            Ability.SINGLE_CONSUMER,
        }
    )

    def __init__(self, address: str, store: Store, *, prefetch: int) -> None:
        self._in = Link(address, "in")
        self._out = Link(address, "out")
        self._prefetch = prefetch
        self._record = BindingRecord(store)
        self._publisher = Publisher(self._out, self._declare_again)
        self._reader = Reader(self._in, self._record)
        self._topology = Topology((), (), ())
        self._objects: Objects | None = None
        self._declaring = asyncio.Lock()
        self._is_declared = False
        self._repaired_at: float | None = None
        self._absent: list[str] = []
        self._consumers: dict[str, Consumer] = {}

    async def declare(self, topology: Topology, *, takes_away: bool = False) -> None:
        """As the protocol says.

        Raises ConfigError; TransportUnavailableError when the broker is away: what was asked for is then declared as
        soon as a consumer or a message needs it.
        """
        before = self._topology, self._objects
        self._topology, self._objects = topology, objects_of(topology)
        try:
            await self._declare(takes_away=takes_away, is_asked=True)
        except ConfigError:
            # What is repaired later is what was declared last, not what the broker refused.
            self._topology, self._objects = before
            raise
        except TransportUnavailableError:
            self._in.is_settled = self._out.is_settled = True
            raise
        self._in.is_settled = self._out.is_settled = True

    async def _declare(self, *, takes_away: bool = False, is_asked: bool = False) -> None:
        async with self._declaring:
            if self._objects is None:
                return
            declarer = Declarer(self._in)
            try:
                await self._record.add(self._objects.recorded)
                gone = await declarer.missing(self._objects) if self._is_declared else []
                self._absent = await declarer.apply(self._objects)
                stale = await self._record.others_than(self._objects.recorded) if takes_away or is_asked else []
                for one in stale if takes_away else ():
                    await declarer.unbind(one)
                    await self._record.remove(one)
            finally:
                await declarer.close()
            self._is_declared = True
            for consumer in self._consumers.values():
                # RabbitMQ may forget to tell the consumers of a queue that was deleted and made again at once.
                consumer.queues_made_again(gone)
        if stale and not takes_away:
            log.warning("old_bindings_kept", bindings=len(stale), then="hub topology apply takes them away")
        for queue in self._absent:
            log.warning("foreign_queue_missing", queue=queue)

    async def _declare_again(self) -> None:
        """Bring back what somebody may have deleted.

        Nothing is taken away: another process may go by newer rules already.
        """
        now = asyncio.get_running_loop().time()
        if self._repaired_at is None or now - self._repaired_at >= REDECLARE_S_MIN:
            await self._declare()
            self._repaired_at = now

    async def _prepare(self, is_first: bool) -> None:
        """Before a consumer begins: whatever ended its last session may have taken the queue with it."""
        if not is_first or not self._is_declared:
            await self._declare_again()

    async def plan(self, topology: Topology) -> list[PlanItem]:
        """Compare, and make nothing. Bindings are compared with the hub's own record: AMQP cannot list them."""
        objects = objects_of(topology)
        declarer = Declarer(self._in)
        try:
            return [*await declarer.plan(objects), *await self._record.plan(objects.recorded)]
        finally:
            await declarer.close()

    async def publish(
        self, messages: Sequence[OutboundMessage], *, timeout_s: float = PUBLISH_TIMEOUT_S
    ) -> list[PublishResult]:
        """Persistent, confirmed and mandatory; many in flight on one channel."""
        if not messages:
            return []
        return await counted_publishing(messages, self._publisher.publish(messages, timeout_s=timeout_s))

    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = CONSUME_BATCH_MAX,
        on_proven: OnProven | None = None,
    ) -> None:
        """As the protocol says. Lost connections, deleted queues and failovers are waited for and repaired."""
        reading = Reading(
            queue, self._queues_of(queue), counted(queue, on_batch), on_proven, batch_size, self._prefetch
        )
        consumer = Consumer(self._in, reading, self._prepare, stopping)
        self._consumers[queue] = consumer
        try:
            await consumer.run()
        finally:
            if self._consumers.get(queue) is consumer:
                del self._consumers[queue]

    def _queues_of(self, name: str) -> list[str]:
        spec = next((one for one in self._topology.queues if one.name == name), None)
        return queue_names(spec) if spec is not None else [name]

    async def queue_list(self) -> list[QueueInfo]:
        """The queues that the hub has made."""
        return await self._reader.infos()

    async def queue_read(self, name: str, *, limit: int, after_id: int = 0) -> list[QueuedMessage]:
        """What is read is held until ``close``, and then goes back to its place."""
        return await self._reader.read(name, limit=limit, after_id=after_id)

    async def queue_ack(self, name: str, message_ids: Sequence[str]) -> list[str]:
        """As the protocol says."""
        return await self._reader.ack(name, message_ids)

    async def healthy(self) -> bool:
        """Whether the broker answers on both connections."""
        try:
            for link in (self._in, self._out):
                async with asyncio.timeout(RPC_S_MAX):
                    await link.discard(await link.channel())
        except (TransportUnavailableError, TimeoutError):
            return False
        return True

    async def state(self) -> str:
        """The place, what does not work, and why."""
        problems = [f"{link.purpose} is away" for link in (self._in, self._out) if not link.is_up]
        problems += [f"queue {name}: {one.problem}" for name, one in self._consumers.items() if one.problem]
        return f"RabbitMQ at {self._in.place}" + (f": {'; '.join(problems)}" if problems else "")

    async def close(self) -> None:
        """Channels end with their connections: what was not acknowledged comes again."""
        await self._reader.release()
        await self._publisher.close()
        await self._out.close()
        await self._in.close()
