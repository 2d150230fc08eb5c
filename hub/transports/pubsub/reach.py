"""Whether anybody gets what is published to a topic: Pub/Sub confirms a message also when nobody does.

Looked at when the hub declares, before publishing when the last look is old, and when its health is asked for.
Source: docs/pubsub.md, "A topic without a subscription".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.pubsub_v1.services.publisher import PublisherAsyncClient

from hub.transports.pubsub import metrics
from hub.transports.pubsub.address import PubSubAddress
from hub.transports.pubsub.clients import CALL_S_MAX, ClientsOnce, reason_of, within
from hub.transports.pubsub.layout import Layout

WATCH_S: Final = 20.0
"""How old the last look at a topic may be. A subscription that is deleted in between is noticed this late."""

log = structlog.get_logger(__name__)


class Reach:
    """The subscriptions of the topics that the hub publishes to, as they were at the last look."""

    def __init__(self, address: PubSubAddress, clients: ClientsOnce, *, watch_s: float = WATCH_S) -> None:
        self._address = address
        self._clients = clients
        self._watch_s = watch_s
        self._known: dict[str, frozenset[str] | None] = {}
        self._looked_at: dict[str, float] = {}

    async def refresh(self, topics: Iterable[str]) -> None:
        """Look again where the last look is old, or found nobody: that is worth a call per publish.

        Raises TransportUnavailableError.
        """
        now = asyncio.get_running_loop().time()
        stale = [
            topic
            for topic in sorted(set(topics))
            if now - self._looked_at.get(topic, float("-inf")) > self._watch_s or self._known.get(topic) == frozenset()
        ]
        for topic in stale:
            await self.look(topic)

    async def look(self, topic: str) -> frozenset[str] | None:
        """The full names of the topic's subscriptions; None where the hub may not ask and must trust."""
        publisher = (await self._clients.get()).publisher
        found: frozenset[str] | None
        try:
            found = await _subscriptions_of(publisher, self._address.topic(topic))
        except NotFound:
            found = frozenset()
        except GoogleAPICallError as error:
            found = None
            if topic not in self._known:
                log.warning("pubsub_readers_unknown", topic=topic, error=reason_of(error))
        self._tell(topic, found)
        self._known[topic], self._looked_at[topic] = found, asyncio.get_running_loop().time()
        return found

    def _tell(self, topic: str, found: frozenset[str] | None) -> None:
        is_bare = found == frozenset()
        metrics.BARE_TOPICS.labels(topic=topic).set(is_bare)
        if is_bare and self._known.get(topic) != frozenset():
            log.error("pubsub_topic_without_subscription", topic=topic)

    def bare(self, topics: Iterable[str]) -> list[str]:
        """Those of these topics that had no subscription at the last look."""
        return [topic for topic in topics if self._known.get(topic) == frozenset()]

    def problem(self, layout: Layout, topic: str, message_exchange: str, routing_key: str) -> str | None:
        """Why nobody would get this message; None when somebody does, as far as is known.

        Where all subscriptions are the hub's own queues, their patterns decide. A reader that routing.yaml does not
        name has no patterns and takes everything.
        """
        found = self._known.get(topic)
        if found is None:
            return None
        if not found:
            return f"topic {topic!r} does not exist or has no subscription: Pub/Sub would confirm and drop the message"
        own = {self._address.subscription(name) for name in layout.readers(topic)}
        if found <= own and not layout.is_taken(topic, routing_key):
            return f"no queue is bound to exchange {message_exchange!r} for routing key {routing_key!r}"
        return None


async def _subscriptions_of(publisher: PublisherAsyncClient, path: str) -> frozenset[str]:
    async with within(CALL_S_MAX):
        pages = await publisher.list_topic_subscriptions(topic=path, retry=None, timeout=CALL_S_MAX)
        return frozenset([name async for name in pages])
