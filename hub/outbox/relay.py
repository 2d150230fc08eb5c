"""The relay: read what may go, publish it outside any transaction, mark exactly what was confirmed, again.

A crash between publishing and marking sends the same messages again under the same ids. After a message that was not
confirmed, everything of its chain from it on is sent again. Source: docs/guarantees.md, G3.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from hub import tracing
from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.flow.flow import Flow
from hub.outbox import metrics
from hub.outbox.marks import Marks, write_marks
from hub.outbox.picker import Picked, lanes_with_work, load_messages, pick
from hub.outbox.throttle import Throttle
from hub.outbox.verdicts import judge, word_for
from hub.ownership.holding import Holding
from hub.recent import Recent
from hub.routing.config import DestinationConfig
from hub.signal import ANY_LANE, LaneSignal, is_set_within
from hub.spacing import Spacing
from hub.store.store import Store
from hub.transports.base import (
    HELD_BACK,
    PUBLISH_TIMEOUT_S,
    Confirmed,
    NotConfirmed,
    OutboundMessage,
    PublishResult,
    Transport,
    TransportUnavailableError,
)

LANES_PER_ROUND = 256
SWEEP_S_MAX = 5.0
VAIN_SHARE = 2
"""Looks in vain past a large backlog that stands still may take one part of the time in so many more."""
PAUSE_S_FIRST = 0.1
PAUSE_S_MAX = 5.0
ANSWER_GRACE_S = 5.0
"""How much longer than its own time-out a transport may take to answer before it counts as gone."""

log = structlog.get_logger(__name__)

Destinations = Callable[[], Mapping[str, DestinationConfig]]


class Relay:
    """Sends the messages of a holding's lanes, which may change at any time, until it is told to stop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        transport: Transport,
        destinations: Destinations,
        *,
        holding: Holding,
        signal: LaneSignal,
        flow: Flow,
        batch_size: int = 500,
        sweep_s: float = 0.5,
        publish_timeout_s: float = PUBLISH_TIMEOUT_S,
        recent: Recent[OutboundMessage] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._transport = transport
        self._destinations = destinations
        self._holding = holding
        holding.hands = self
        self._signal = signal
        self._flow = flow
        self._throttle = Throttle(flow, clock, holding)
        self._recent = recent if recent is not None else Recent(bytes_max=0)
        self._batch_size = batch_size
        self._sweep_s = sweep_s
        self._publish_timeout_s = publish_timeout_s
        self._stopping = asyncio.Event()
        # One round at a time: two would send the messages of one chain side by side.
        self._turn = asyncio.Lock()
        self._spacing = Spacing()
        self._is_leaving = False
        self._vain_s = 0.0
        self.paused_because: str | None = None

    async def run(self) -> None:
        """Send until ``stop``. Raises FencedError when another worker has taken over."""
        pause_s = 0.0
        next_sweep = 0.0
        while not self._stopping.is_set():
            try:
                if self._clock.monotonic() >= next_sweep:
                    await self._sweep()
                    rest_s = min(SWEEP_S_MAX, VAIN_SHARE * self._vain_s)
                    next_sweep = self._clock.monotonic() + max(self._sweep_s, rest_s)
                    self._vain_s = 0.0
                self._signal.again(self._throttle.due_lanes())
                if self._signal:
                    await self._spacing.wait()
                if self._stopping.is_set():
                    break
                if await self._step() is None:
                    until_sweep_s = max(0.0, next_sweep - self._clock.monotonic())
                    await self._signal.wait(min(until_sweep_s, self._throttle.wait_s))
                pause_s = 0.0
            except (StoreUnavailableError, TransportUnavailableError) as error:
                pause_s = min(PAUSE_S_MAX, max(PAUSE_S_FIRST, pause_s * 2))
                await self._pause(pause_s * self._clock.jitter(), str(error))
                next_sweep = 0.0

    def stop(self) -> None:
        """Take nothing new; the round in hand comes to its end."""
        self._stopping.set()
        self._signal.wake()

    async def round_ended(self) -> None:
        """Return when the round in hand, if there is one, is over; the next one sees today's destinations."""
        async with self._turn:
            return

    async def let_go(self, lanes: frozenset[int]) -> frozenset[int]:
        """Nothing is in hand in lanes that are no longer taken once the round under way has ended."""
        await self.round_ended()
        return lanes

    async def drain(self, within_s: float) -> bool:
        """Send what is ready, after ``run`` has ended or beside it. True when nothing ready is left.

        Ends after ``within_s`` seconds, at the first sign that the broker or the database is away, or when what is
        left has to wait for its back-off, or for its destination.
        """
        try:
            async with asyncio.timeout(within_s):
                while await self._drain_once():
                    pass
                return True
        except (TimeoutError, StoreUnavailableError, TransportUnavailableError) as error:
            log.warning("outbox_left", error=type(error).__name__)
            return False

    async def _drain_once(self) -> bool:
        """Look at all lanes once, and again at those where something was found; False when nothing was."""
        await self._sweep()
        has_found = False
        while (found := await self._step()) is not None:
            has_found |= found
        return has_found

    async def _pause(self, seconds: float, reason: str) -> None:
        """Wait for the broker or the database to come back; no message is at fault, so nothing is counted."""
        self.paused_because = reason
        metrics.PAUSED.set(1)
        log.warning("relay_paused", error=reason, pause_s=round(seconds, 3))
        await is_set_within(self._stopping, seconds)

    def _go_on(self) -> None:
        if self.paused_because is not None:
            self.paused_because = None
            metrics.PAUSED.set(0)
            log.info("relay_resumed")

    async def _sweep(self) -> None:
        await self._flow.tell_untold()
        await self._flow.look(self._store)
        self._signal.again(await lanes_with_work(self._store, sorted(self._holding.lanes), self._clock.now()))

    async def _step(self) -> bool | None:
        """One round of the lanes that were named, and whether anything was found; None when none was named."""
        async with self._turn:
            lanes = await self._take()
            if not lanes:
                return None
            begun_s = self._clock.monotonic()
            try:
                picked = await self._round(lanes)
            except (StoreUnavailableError, TransportUnavailableError):
                self._signal.again(lanes)
                raise
            self._spacing.ended(len(picked.heads), is_more=bool(picked.lanes))
            self._signal.again(sorted(picked.lanes))
            if not picked.has_found and self._is_leaving:
                self._vain_s += self._clock.monotonic() - begun_s
            self._go_on()
            return picked.has_found

    async def _take(self) -> list[int]:
        lanes = self._signal.take(LANES_PER_ROUND)
        if ANY_LANE in lanes:
            self._signal.add(lane for lane in lanes if lane != ANY_LANE)
            await self._sweep()
            lanes = self._signal.take(LANES_PER_ROUND)
            if ANY_LANE in lanes:
                # Said again while the sweep read, perhaps of something that was committed behind its snapshot.
                self._signal.note([ANY_LANE])
        return [lane for lane in lanes if lane in self._holding.lanes]

    async def _round(self, lanes: Sequence[int]) -> Picked:
        """Read, publish, mark."""
        destinations = self._destinations()
        rooms, now, limit = self._throttle.rooms(destinations), self._clock.now(), self._batch_size
        self._is_leaving = bool(rooms.closed)
        picked = await pick(self._store, lanes, limit=limit, now=now, destinations=destinations, rooms=rooms)
        messages = await load_messages(self._store, picked.heads, destinations, self._recent)
        self._throttle.took(picked, lanes)
        results = dict(zip(messages, await self._publish(list(messages.values())), strict=True))
        marks = judge(picked, results, self._clock)
        if marks:
            now = self._clock.now()

            async def work(conn: AsyncConnection) -> None:
                await write_marks(conn, marks, now=now)

            await self._store.write(work, fence=self._holding.fence, may_share=True)
        _tell(picked, results, marks)
        await self._throttle.learn(picked, results, destinations)
        # What did not go may be next, or is in the way of what is.
        picked.lanes |= {head.lane for head in picked.heads if not isinstance(results.get(head.seq), Confirmed)}
        return picked

    async def _publish(self, messages: Sequence[OutboundMessage]) -> list[PublishResult]:
        if not messages:
            return []
        with metrics.PUBLISH_SECONDS.time(), tracing.publishing(messages):
            try:
                async with asyncio.timeout(self._publish_timeout_s + ANSWER_GRACE_S):
                    return await self._transport.publish(messages, timeout_s=self._publish_timeout_s)
            except TimeoutError as error:
                raise TransportUnavailableError("the broker did not answer in time") from error
            except (TransportUnavailableError, StoreUnavailableError):
                raise
            except Exception as error:
                # Against its contract; most likely one message that it cannot put into words. The others must not wait.
                log.error("publish_raised", error=type(error).__name__, messages=len(messages))
                return await self._publish_apart(messages)

    async def _publish_apart(self, messages: Sequence[OutboundMessage]) -> list[PublishResult]:
        """One by one, to find the message at fault. Those behind it in its key are held back."""
        results: list[PublishResult] = []
        halted: set[tuple[str, str]] = set()
        for message in messages:
            if (message.exchange, message.key) in halted:
                results.append(HELD_BACK)
                continue
            result = await self._publish_alone(message)
            results.append(result)
            if not isinstance(result, Confirmed):
                halted.add((message.exchange, message.key))
        return results

    async def _publish_alone(self, message: OutboundMessage) -> PublishResult:
        try:
            async with asyncio.timeout(self._publish_timeout_s + ANSWER_GRACE_S):
                return (await self._transport.publish([message], timeout_s=self._publish_timeout_s))[0]
        except TimeoutError as error:
            raise TransportUnavailableError("the broker did not answer in time") from error
        except (TransportUnavailableError, StoreUnavailableError):
            raise
        except Exception as error:
            return NotConfirmed(f"the transport raised {type(error).__name__}")


def _tell(picked: Picked, results: Mapping[int, PublishResult], marks: Marks) -> None:
    """Tell those who watch, now that it is committed."""
    words = Counter((head.destination, word_for(results.get(head.seq))) for head in picked.heads)
    for (destination, word), count in words.items():
        if word is not None:
            metrics.PUBLISHED.labels(destination=destination, result=word).inc(count)
    for failure in marks.failures:
        head = failure.head
        fields = {"seq": head.seq, "destination": head.destination, "attempt": head.attempts + 1}
        if failure.block.state == "parked":
            log.error("message_parked", reason=failure.reason, **fields)
        else:
            log.warning("message_refused", reason=failure.reason, **fields)
    if marks:
        log.debug("round_done", sent=len(marks.sent), failed=len(marks.failures), waiting=len(marks.waiting))
