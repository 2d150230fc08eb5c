"""Transports that break the contract, each in one way. The suite has to catch every one of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hub.clock import Clock
from hub.store.store import Store
from hub.transports import (
    Ability,
    Binding,
    Confirmed,
    Delivered,
    LocalTransport,
    OnBatch,
    OnProven,
    OutboundMessage,
    PublishResult,
    Topology,
    Unroutable,
)


class Broken(LocalTransport):
    """The embedded transport, to be bent."""

    def shown(self, delivered: Delivered) -> Delivered:
        """How a message is handed out."""
        return delivered

    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        return await super().publish(messages, timeout_s=timeout_s)

    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = 100,
        on_proven: OnProven | None = None,
    ) -> None:
        async def handed(batch: Sequence[Delivered]) -> None:
            await on_batch([self.shown(one) for one in batch])

        await super().consume(queue, handed, stopping=stopping, batch_size=batch_size)


class AcknowledgesFirst(Broken):
    """What the handler makes of it does not matter."""

    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = 100,
        on_proven: OnProven | None = None,
    ) -> None:
        async def handed(batch: Sequence[Delivered]) -> None:
            await asyncio.gather(on_batch(batch), return_exceptions=True)

        await super().consume(queue, handed, stopping=stopping, batch_size=batch_size)


class NeverAcknowledges(Broken):
    async def _acknowledge(self, queue: str, ids: Sequence[int]) -> None:
        return


class AcknowledgesEverything(Broken):
    """Everything up to what it has seen, and more."""

    async def _acknowledge(self, queue: str, ids: Sequence[int]) -> None:
        await super()._acknowledge(queue, range(max(ids) + 1_000))


class DropsWhatIsInHandAtTheStop(Broken):
    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = 100,
        on_proven: OnProven | None = None,
    ) -> None:
        consuming = asyncio.ensure_future(super().consume(queue, on_batch, stopping=stopping, batch_size=batch_size))
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({consuming, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)


class NeverStops(Broken):
    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = 100,
        on_proven: OnProven | None = None,
    ) -> None:
        await super().consume(queue, on_batch, stopping=asyncio.Event(), batch_size=batch_size)


class HandsOverTwoBatchesAtOnce(Broken):
    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = 100,
        on_proven: OnProven | None = None,
    ) -> None:
        async def handed(batch: Sequence[Delivered]) -> None:
            half = len(batch) // 2
            await asyncio.gather(*(on_batch(part) for part in (batch[:half], batch[half:]) if part))

        await super().consume(queue, handed, stopping=stopping, batch_size=batch_size)


class HandsOverTooMuch(Broken):
    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = 100,
        on_proven: OnProven | None = None,
    ) -> None:
        await super().consume(queue, on_batch, stopping=stopping, batch_size=batch_size * 2)


class LetsEverybodyRead(Broken):
    """Says that an ordered queue has one consumer, and hands out to all."""

    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = 100,
        on_proven: OnProven | None = None,
    ) -> None:
        self._consuming.pop(queue, None)
        await super().consume(queue, on_batch, stopping=stopping, batch_size=batch_size)


class NobodyTakesOver(Broken):
    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = 100,
        on_proven: OnProven | None = None,
    ) -> None:
        if self._consuming[queue].locked():
            await stopping.wait()
            return
        await super().consume(queue, on_batch, stopping=stopping, batch_size=batch_size)


class ForgetsTheFlag(Broken):
    def shown(self, delivered: Delivered) -> Delivered:
        return replace(delivered, redelivered=False)


class ChangesTags(Broken):
    def shown(self, delivered: Delivered) -> Delivered:
        return replace(delivered, tag=random.getrandbits(60))


class ChangesIds(Broken):
    def shown(self, delivered: Delivered) -> Delivered:
        return replace(delivered, message_id=f"{delivered.message_id}.{delivered.tag}")


class ReadsText(Broken):
    def shown(self, delivered: Delivered) -> Delivered:
        return replace(delivered, payload=delivered.payload.decode("utf-8", "replace").encode())


class CutsLongBodies(Broken):
    def shown(self, delivered: Delivered) -> Delivered:
        return replace(delivered, payload=delivered.payload[:65_536])


class LosesHeaders(Broken):
    def shown(self, delivered: Delivered) -> Delivered:
        return replace(delivered, headers={name: value for name, value in delivered.headers.items() if value})


class SpeaksAscii(Broken):
    def shown(self, delivered: Delivered) -> Delivered:
        return replace(delivered, routing_key=delivered.routing_key.encode("ascii", "replace").decode())


class KnowsNoZones(Broken):
    def shown(self, delivered: Delivered) -> Delivered:
        return replace(delivered, timestamp=delivered.timestamp and delivered.timestamp.replace(tzinfo=None))


class IgnoresPatterns(Broken):
    async def declare(self, topology: Topology, *, takes_away: bool = False) -> None:
        everything = [Binding(one.exchange, one.queue, "#") for one in topology.bindings]
        await super().declare(Topology.of(topology.queues, everything, topology.exchanges), takes_away=takes_away)


class EmptiesWhatItDeclares(Broken):
    async def declare(self, topology: Topology, *, takes_away: bool = False) -> None:
        for queue in topology.queues:
            await self._acknowledge(queue.name, range(1_000))
        await super().declare(topology, takes_away=takes_away)


class TakesConfirmedForRouted(Broken):
    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        results = await super().publish(messages, timeout_s=timeout_s)
        return [Confirmed() if isinstance(one, Unroutable) else one for one in results]


class ConfirmsBehindARefusal(Broken):
    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        return [(await super(Broken, self).publish([one], timeout_s=timeout_s))[0] for one in messages]


class AnswersInItsOwnOrder(Broken):
    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        return (await super().publish(messages, timeout_s=timeout_s))[::-1]


class SendsInItsOwnOrder(Broken):
    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        return (await super().publish(messages[::-1], timeout_s=timeout_s))[::-1]


class RefusesNothing(Broken):
    """An empty call is a mistake of the caller, it thinks."""

    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        return await super().publish([messages[0], *messages[1:]], timeout_s=timeout_s)


class MixesUpParallelCalls(Broken):
    """Keeps what it is sending in the object, where the next call overwrites it."""

    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        self.sending = messages
        await asyncio.sleep(0)
        return await super().publish(self.sending, timeout_s=timeout_s)


class RepeatsMessages(Broken):
    """Says that it absorbs repeats, and hands out each message under a new place every time."""

    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        results = await super().publish(messages, timeout_s=timeout_s)
        again = [replace(one, message_id=f"{one.message_id}'") for one in messages]
        await super().publish(again, timeout_s=timeout_s)
        return results


class WaitsForEver(Broken):
    """A publish without a time-out of its own. ``answers`` is unset while the broker is silent."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self.answers = asyncio.Event()
        self.answers.set()

    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        await self.answers.wait()
        return await super().publish(messages, timeout_s=timeout_s)


class TakesSilenceForYes(WaitsForEver):
    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float = 10.0) -> list[PublishResult]:
        if not self.answers.is_set():
            return [Confirmed()] * len(messages)
        return await super().publish(messages, timeout_s=timeout_s)


class IsNeverWell(Broken):
    async def healthy(self) -> bool:
        return False


class SleepsThroughArrivals(Broken):
    """Looks once, and then never again."""

    async def _wait(self, queue: str, stopped: asyncio.Future[Any]) -> None:
        await stopped


class TellsOfNoMismatch(Broken):
    """The broker outlives the file, and nobody compares."""

    abilities = LocalTransport.abilities | {Ability.REFUSES_MISMATCH}


class ForgetsEverything(Broken):
    """Keeps messages in the process: another connection finds nothing."""

    async def close(self) -> None:
        for queue in await self.queue_list():
            await self._acknowledge(queue.name, range(1_000))


CAUGHT_BY: dict[type[Broken], str] = {
    AcknowledgesFirst: "a_batch_whose_handler_raised_comes_again",
    NeverAcknowledges: "what_a_batch_returned_for_is_gone",
    AcknowledgesEverything: "a_batch_holds_no_more_than_asked_for",
    DropsWhatIsInHandAtTheStop: "a_batch_in_hand_at_the_stop_is_finished",
    NeverStops: "reading_an_empty_queue_ends_when_it_is_told",
    HandsOverTwoBatchesAtOnce: "one_batch_is_handed_over_at_a_time",
    HandsOverTooMuch: "a_batch_holds_no_more_than_asked_for",
    LetsEverybodyRead: "an_ordered_queue_has_one_consumer_at_a_time",
    NobodyTakesOver: "a_consumer_that_stands_by_takes_over",
    ForgetsTheFlag: "a_batch_whose_handler_raised_comes_again",
    ChangesTags: "a_batch_whose_handler_raised_comes_again",
    ChangesIds: "a_message_may_be_published_again",
    ReadsText: "a_message_arrives_byte_for_byte",
    CutsLongBodies: "a_message_arrives_byte_for_byte",
    LosesHeaders: "headers_and_routing_keys_may_hold_any_letters",
    SpeaksAscii: "headers_and_routing_keys_may_hold_any_letters",
    KnowsNoZones: "a_message_arrives_byte_for_byte",
    IgnoresPatterns: "each_queue_gets_what_its_pattern_names",
    EmptiesWhatItDeclares: "declaring_again_changes_nothing",
    TakesConfirmedForRouted: "a_message_that_no_queue_takes_is_told_apart",
    ConfirmsBehindARefusal: "behind_one_that_did_not_go_nothing_of_its_key_counts",
    AnswersInItsOwnOrder: "answers_come_in_the_order_asked",
    SendsInItsOwnOrder: "the_messages_of_a_key_stay_in_order",
    RefusesNothing: "publishing_nothing_answers_nothing",
    MixesUpParallelCalls: "many_may_publish_at_once",
    RepeatsMessages: "what_a_batch_returned_for_is_gone",
    WaitsForEver: "a_silent_broker_is_answered_for_in_time",
    TakesSilenceForYes: "a_silent_broker_is_answered_for_in_time",
    IsNeverWell: "it_says_that_it_is_well",
    SleepsThroughArrivals: "a_consumer_is_woken_by_what_arrives",
    TellsOfNoMismatch: "a_queue_that_exists_otherwise_is_refused_with_both_sides",
    ForgetsEverything: "messages_wait_for_a_consumer_across_connections",
}
"""Each broken transport, and the test that has to catch it."""
