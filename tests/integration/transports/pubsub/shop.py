"""Names and messages of one shop."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from hub.transports import Binding, OutboundMessage, QueueSpec, Topology
from tests.support.pubsub_server import PubSubServer
from tests.support.pubsub_server.subscriptions import Subscription

QUEUE = "orders"
_numbers = count(1)


def topology(pattern: str = "#", *, queue: str = QUEUE) -> Topology:
    return Topology.of([QueueSpec(queue, single_consumer=True)], [Binding("shop.events", queue, pattern)])


def message(
    routing_key: str = "order.paid",
    *,
    key: str = "k",
    body: bytes = b"{}",
    exchange: str = "shop.events",
    headers: Mapping[str, str] | None = None,
    message_id: str | None = None,
) -> OutboundMessage:
    return OutboundMessage(
        message_id=message_id or f"m{next(_numbers)}",
        exchange=exchange,
        routing_key=routing_key,
        content_type="application/json",
        payload=body,
        headers=headers or {},
        key=key,
    )


def unkeyed(routing_key: str = "order.paid", **fields: Any) -> OutboundMessage:
    """A message that is its own key."""
    message_id = f"m{next(_numbers)}"
    return message(routing_key, key=message_id, message_id=message_id, **fields)


def held(server: PubSubServer, queue: str = QUEUE) -> Subscription:
    return server.state.subscription(f"projects/shop/subscriptions/{queue}")


def published(server: PubSubServer) -> list[str]:
    """The ids of everything that the server took, in order."""
    return [one.attributes["message_id"] for one in server.state.published]
