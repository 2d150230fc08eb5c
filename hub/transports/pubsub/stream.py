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
from hub.transports.pubsub import metrics
from hub.transports.pubsub.clients import reason_of
from hub.transports.pubsub.hand import Hand

HEARTBEAT_S: Final = 30.0
"""How often the hub says that it is still there; a quiet stream is otherwise ended."""
PAUSE_S_MIN: Final = 0.1
PAUSE_S_MAX: Final = 5.0

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
        self.is_exactly_once = False

    async def run(self) -> None:
        """Read for ever. No error ends it: what is wrong (no such subscription, no right) may be put right."""
        pause_s = 0.0
        while True:
            has_read = False
            try:
                async for response in self._responses():
                    has_read = True
                    self.is_exactly_once = response.subscription_properties.exactly_once_delivery_enabled
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
            await asyncio.sleep(pause_s * self._clock.jitter())

    async def _responses(self) -> AsyncIterator[Any]:
        """The answers of one stream, in the protocol's own form."""
        ended = asyncio.Event()
        call: Any = None
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
        yield self._first()
        while not ended.is_set():
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await ended.wait()
            except TimeoutError:
                yield Request()
