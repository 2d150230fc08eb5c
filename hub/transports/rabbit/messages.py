"""Between AMQP messages and the hub's own. Source: docs/rabbitmq.md, "Messages"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from aiormq.abc import DeliveredMessage
from pamqp import commands as spec

from hub.transports.base import Delivered, HandedOut, OutboundMessage
from hub.transports.rabbit.properties import PERSISTENT, Properties, read_properties, text_of


@dataclass(slots=True)
class Arrived:
    """One message as the broker handed it out on its channel."""

    delivery_tag: int
    redelivered: bool
    routing_key: str
    properties: Properties
    body: bytes = b""


def properties_of(message: OutboundMessage) -> spec.Basic.Properties:
    """The properties of a message on its way out: persistent, under its stable id."""
    return spec.Basic.Properties(
        message_id=message.message_id,
        content_type=message.content_type or None,
        headers=dict(message.headers),
        delivery_mode=PERSISTENT,
        timestamp=datetime.now(UTC),
    )


def arrived(message: DeliveredMessage) -> Arrived:
    """A message as aiormq hands it out."""
    return Arrived(
        delivery_tag=message.delivery_tag or 0,
        redelivered=bool(message.redelivered),
        routing_key=text_of(message.routing_key),
        properties=read_properties(message.header.properties),
        body=message.body,
    )


def delivered(message: Arrived, tag: int, session: UUID) -> Delivered:
    """One message as it came from a queue."""
    properties = message.properties
    return Delivered(
        tag=tag,
        message_id=properties.message_id,
        routing_key=message.routing_key,
        content_type=properties.content_type,
        payload=message.body,
        headers=properties.headers,
        redelivered=message.redelivered,
        timestamp=properties.timestamp,
        handed_out=HandedOut(session, tag, message.redelivered),
    )
