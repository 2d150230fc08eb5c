"""The streaming pull: open it, read it, open it again. The service itself ends every stream now and then.

Source: cloud.google.com/pubsub/docs/pull, "StreamingPull"; google/pubsub/v1/pubsub.proto.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import structlog
from google.api_core.exceptions import GoogleAPICallError, ServiceUnavailable
from google.pubsub_v1 import types
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

from hub.clock import Clock
from hub.signal import is_set_within
from hub.transports.pubsub import metrics
from hub.transports.pubsub.clients import reason_of
from hub.transports.pubsub.hand import Hand

HEARTBEAT_S: Final = 30.0
"""How often the hub says that it is still there; a quiet stream is otherwise ended."""
PAUSE_S_MIN: Final = 0.1
PAUSE_S_MAX: Final = 5.0
END_S_MAX: Final = 2.0
"""How long the broker may take to end a stream that the hub has closed from its side."""

log = structlog.get_logger(__name__)

Request = types.StreamingPullRequest


class PullStream:
    """Reads one subscription into a hand until it is cancelled, through as many streams as it takes."""

    def __init__(
        self,
        subscriber: SubscriberAsyncClient,
        hand: Hand,
        clock: Clock,
        *,
        queue: str,
        first: Callable[[], Request],
    ) -> None:
        self._subscriber = subscriber
        self._hand = hand
        self._clock = clock
        self._queue = queue
        self._first = first
        self._ending = asyncio.Event()
        self._one_ended = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled; then end the stream in order, and only then return.

        A stream that is simply dropped may be handed what the hub gives back at that moment, and nobody would have it
        until its lease is over. What still comes on the way out is in the hand, to be given back with the rest.
        """
        reading = asyncio.create_task(self._read())
        try:
            await asyncio.shield(reading)
        finally:
            self._ending.set()
            self._one_ended.set()
            await asyncio.wait({reading}, timeout=END_S_MAX)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> None:
        """Stream after stream. No error ends it: what is wrong (no such subscription, no right) may be put right."""
        pause_s = 0.0
        while not self._ending.is_set():
            has_read = False
            try:
                async for response in self._responses():
                    has_read = True
                    self._hand.add(response.received_messages)
                    await self._hand.room()
                reason = "the broker ended the stream"
            except ServiceUnavailable as error:
                reason = reason_of(error)
            except GoogleAPICallError as error:
                reason = reason_of(error)
                log.warning("pubsub_stream_failed", queue=self._queue, error=reason)
            pause_s = PAUSE_S_MIN if has_read else min(PAUSE_S_MAX, max(PAUSE_S_MIN, pause_s * 2))
            log.debug("pubsub_stream_ended", queue=self._queue, reason=reason, pause_s=pause_s)
            await is_set_within(self._ending, pause_s * self._clock.jitter())

    async def _responses(self) -> AsyncIterator[Any]:
        """The answers of one stream, in the protocol's own form."""
        call: Any = None
        ended = self._one_ended = asyncio.Event()
        try:
            metrics.STREAMS_OPENED.labels(queue=self._queue).inc()
            call = await self._subscriber.streaming_pull(requests=self._requests(ended), retry=None, timeout=None)
            async for response in call:
                yield types.StreamingPullResponse.pb(response)
        finally:
            # The generator of requests must not outlive the stream that read from it.
            ended.set()
            if call is not None:
                call.cancel()

    async def _requests(self, ended: asyncio.Event) -> AsyncIterator[Request]:
        """What the hub says on one stream; when it has nothing more to say, the stream is closed from its side."""
        yield self._first()
        while not await is_set_within(ended, HEARTBEAT_S):
            yield Request()
