"""Queue sources: what a transport hands out is accepted in batches; it is acknowledged only after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from hub.event import Verdict
from hub.inbox.accept import GroupCommit
from hub.inbox.received import Received
from hub.ingress.headers import usable_headers
from hub.transports import Ability, Delivered, Transport

BATCH_MAX = 200

log = structlog.get_logger(__name__)


class QueueConsumer:
    """Reads one queue into the inbox, as the source that declared it."""

    def __init__(self, source: str, queue: str, transport: Transport, inbox: GroupCommit) -> None:
        self._source = source
        self._queue = queue
        self._transport = transport
        self._inbox = inbox
        self._has_stable_tags = Ability.STABLE_TAGS in transport.abilities

    async def run(self, stopping: asyncio.Event) -> None:
        """Read until ``stopping`` is set. A batch that cannot be stored stays in the queue and comes again."""
        await self._transport.consume(self._queue, self._accept, stopping=stopping, batch_size=BATCH_MAX)

    async def _accept(self, batch: Sequence[Delivered]) -> None:
        await self._inbox.accept_all([self._received(delivered) for delivered in batch])

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
            traceparent=delivered.headers.get("traceparent", ""),
        )
