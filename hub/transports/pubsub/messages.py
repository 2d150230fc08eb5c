"""From the hub's message to Pub/Sub's and back: attributes for what AMQP has properties and headers for.

Source: docs/pubsub.md, "Messages"; the limits are those of cloud.google.com/pubsub/quotas, "Resource limits".
"""

from __future__ import annotations

import hashlib
from datetime import UTC
from typing import Any, Final

from google.pubsub_v1 import types

from hub.transports.base import Delivered, OutboundMessage

ROUTING_KEY, MESSAGE_ID, CONTENT_TYPE = "routing_key", "message_id", "content_type"
OURS: Final = frozenset({ROUTING_KEY, MESSAGE_ID, CONTENT_TYPE})
ESCAPE: Final = "header:"
"""Goes before a header whose name is one of ours or one that Pub/Sub keeps for itself."""
CONTENT_TYPE_DEFAULT: Final = "application/json"

MESSAGE_BYTES_MAX: Final = 10_000_000 - 10_000
"""Pub/Sub's limit for a whole request, less what is around one message."""
ATTRIBUTES_MAX: Final = 100
NAME_BYTES_MAX: Final = 256
VALUE_BYTES_MAX: Final = 1_024
KEY_BYTES_MAX: Final = 1_024

PubsubMessage = types.PubsubMessage.pb()


def to_pubsub(message: OutboundMessage) -> Any:
    """The protocol's own message, without a copy in proto-plus: this is the hot path."""
    attributes = {_attribute(name): value for name, value in message.headers.items()}
    attributes |= {
        ROUTING_KEY: message.routing_key,
        MESSAGE_ID: message.message_id,
        CONTENT_TYPE: message.content_type,
    }
    return PubsubMessage(data=message.payload, attributes=attributes, ordering_key=ordering_key(message))


def ordering_key(message: OutboundMessage) -> str:
    """Pub/Sub's ordering key: the message's key; none where a message is its own, so that many go in one request."""
    if message.key == message.message_id:
        return ""
    if len(message.key.encode()) <= KEY_BYTES_MAX:
        return message.key
    return hashlib.sha256(message.key.encode()).hexdigest()


def limit_problem(message: Any) -> str | None:
    """Why Pub/Sub can never take this message; None when it can."""
    attributes = message.attributes
    if message.ByteSize() > MESSAGE_BYTES_MAX:
        return f"the message has {message.ByteSize()} bytes; Pub/Sub takes {MESSAGE_BYTES_MAX}"
    if len(attributes) > ATTRIBUTES_MAX:
        return f"{len(attributes)} headers and properties; Pub/Sub takes {ATTRIBUTES_MAX} attributes"
    for name, value in attributes.items():
        if not name or len(name.encode()) > NAME_BYTES_MAX:
            return f"a header's name has {len(name.encode())} bytes; Pub/Sub takes 1 to {NAME_BYTES_MAX}"
        if len(value.encode()) > VALUE_BYTES_MAX:
            return f"header {name!r} has {len(value.encode())} bytes; Pub/Sub takes {VALUE_BYTES_MAX}"
    return None


def from_pubsub(received: Any) -> Delivered:
    """What was handed out. The tag is Pub/Sub's own message id, which a message keeps when it comes again."""
    message = received.message
    attributes = dict(message.attributes)
    return Delivered(
        tag=tag_of(message.message_id),
        message_id=attributes.get(MESSAGE_ID),
        routing_key=attributes.get(ROUTING_KEY, ""),
        content_type=attributes.get(CONTENT_TYPE, CONTENT_TYPE_DEFAULT),
        payload=message.data,
        headers={name.removeprefix(ESCAPE): value for name, value in attributes.items() if name not in OURS},
        # Told only where the subscription has a dead-letter topic; 0 elsewhere.
        redelivered=received.delivery_attempt > 1,
        timestamp=message.publish_time.ToDatetime(tzinfo=UTC) if message.HasField("publish_time") else None,
    )


def tag_of(broker_id: str) -> int:
    """The broker's id as a number: the ids are digits today, and promised to be nothing more than text."""
    if broker_id.isascii() and broker_id.isdigit() and not broker_id.startswith("0"):
        return int(broker_id)
    return -int.from_bytes(hashlib.sha256(broker_id.encode()).digest()[:16])


def _attribute(name: str) -> str:
    is_taken = name in OURS or name.startswith(("goog", ESCAPE))
    return f"{ESCAPE}{name}" if is_taken else name
