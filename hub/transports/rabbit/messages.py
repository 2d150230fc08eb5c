"""Between AMQP messages and the hub's own: what goes into the properties, and what is read from them.

Source: docs/rabbitmq.md, "Messages".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from hub.transports.base import Delivered, OutboundMessage

PERSISTENT: Final = 2
OTHER_PROPERTIES: Final = ("correlation_id", "reply_to", "app_id", "user_id", "content_encoding")
"""Properties that have no field of their own: they are read as headers called ``amqp-correlation-id`` and so on."""


def properties_of(message: OutboundMessage) -> spec.Basic.Properties:
    """The properties of a message on its way out: persistent, under its stable id."""
    return spec.Basic.Properties(
        message_id=message.message_id,
        content_type=message.content_type or None,
        headers=dict(message.headers),
        delivery_mode=PERSISTENT,
        timestamp=datetime.now(UTC),
    )


def delivered(message: DeliveredMessage, tag: int) -> Delivered:
    """One message as it came from a queue."""
    properties = message.header.properties
    return Delivered(
        tag=tag,
        message_id=_text(properties.message_id) or None,
        routing_key=_text(message.routing_key),
        content_type=_text(properties.content_type),
        payload=message.body,
        headers=headers_of(properties),
        redelivered=bool(message.redelivered),
        timestamp=_utc(properties.timestamp),
    )


def headers_of(properties: spec.Basic.Properties) -> dict[str, str]:
    """Every header as text, and the properties that have no field of their own."""
    headers = {name: _text(value) for name, value in (properties.headers or {}).items()}
    for name in OTHER_PROPERTIES:
        value = getattr(properties, name)
        if value:
            headers.setdefault(f"amqp-{name.replace('_', '-')}", _text(value))
    return headers


def _text(value: Any) -> str:
    """A header's value as text: tables and lists as JSON, bytes that are no text as base64."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bytes() | bytearray():
            try:
                return bytes(value).decode()
            except UnicodeDecodeError:
                return base64.b64encode(value).decode()
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case Mapping() | list():
            return json.dumps(value, default=_text, ensure_ascii=False)
        case _:
            return str(value)


def _utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
