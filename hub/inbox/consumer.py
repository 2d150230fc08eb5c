"""Queue sources: what a transport hands out is accepted in batches; it is acknowledged only after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from hub.event import Verdict
from hub.headers import usable_headers
from hub.inbox.accept import GroupCommit
from hub.inbox.received import Received
from hub.transports import Ability, Delivered, Transport
from hub.transports.base import HandedOut

BATCH_MAX = 500
IN_DOUBT_MAX = 10_000
"""Events without an id that wait for the proof that their acknowledgement arrived."""

log = structlog.get_logger(__name__)


class QueueConsumer:
    """Reads one queue into the inbox, as the source that declared it."""

    def __init__(
        self,
        source: str,
        queue: str,
        transport: Transport,
        inbox: GroupCommit,
        *,
        pace: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``pace`` is awaited before each batch: whatever works on what is accepted may be behind."""
        self._source = source
        self._queue = queue
        self._transport = transport
        self._inbox = inbox
        self._pace = pace
        self._has_stable_tags = Ability.STABLE_TAGS in transport.abilities
        self._is_unsure = not self._has_stable_tags and Ability.REDELIVERED_FLAG in transport.abilities
        self._in_doubt: dict[int, HandedOut] = {}
        self._proven: set[HandedOut] = set()
        """Proven, and not known to be written down."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Read until ``stopping`` is set. A batch that cannot be stored stays in the queue and comes again."""
        await self._transport.consume(
            self._queue,
            self._accept,
            stopping=stopping,
            batch_size=BATCH_MAX,
            on_proven=self._forget if self._is_unsure else None,
        )

    async def _accept(self, batch: Sequence[Delivered]) -> None:
        await self._forget(())
        if self._pace is not None:
            await self._pace()
        accepted = await self._inbox.accept_all([self._received(delivered) for delivered in batch])
        for delivered, answer in zip(batch, accepted, strict=True):
            if answer.in_doubt and delivered.handed_out is not None:
                self._in_doubt[delivered.tag] = delivered.handed_out
        while len(self._in_doubt) > IN_DOUBT_MAX:
            # Its channel has gone without a proof; the event's own time limit does the rest.
            del self._in_doubt[next(iter(self._in_doubt))]

    async def _forget(self, tags: Sequence[int]) -> None:
        """What is proven is in doubt no more. What could not be written down is, before anything else is judged."""
        self._proven.update(self._in_doubt.pop(tag) for tag in tags if tag in self._in_doubt)
        if proven := frozenset(self._proven):
            await self._inbox.forget(self._queue, proven)
            self._proven -= proven

    def _received(self, delivered: Delivered) -> Received:
        headers, left_out = usable_headers(delivered.headers.items())
        if left_out:
            log.warning("headers_left_out", source=self._source, message_id=delivered.message_id, headers=left_out)
        return Received(
            source=self._source,
            body=delivered.payload,
            content_type=delivered.content_type,
            headers=headers,
            routing_key=delivered.routing_key,
            message_id=delivered.message_id or "",
            timestamp=delivered.timestamp,
            # Reading the queue took a login.
            verdict=Verdict.TRUSTED,
            redelivered=delivered.redelivered,
            carrier_ref=f"{self._queue}/{delivered.tag}" if self._has_stable_tags else "",
            unsure_queue=self._queue if self._is_unsure else "",
            handed_out=delivered.handed_out if self._is_unsure else None,
            traceparent=delivered.headers.get("traceparent", ""),
        )
