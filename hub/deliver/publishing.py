"""Messages of handlers: their bytes, their stable ids, and where they go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias
from uuid import UUID

from pydantic import BaseModel

from hub.deliver.effects import OutgoingMessage
from hub.errors import PermanentError
from hub.event import Event, route_id_of, stable_uuid_text
from hub.jsonbody import write_json
from hub.routing import DestinationConfig

Payload: TypeAlias = BaseModel | Mapping[str, Any] | bytes
PAYLOAD_BYTES_MAX = 1_048_576


def outgoing(
    event: Event,
    destinations: Mapping[str, DestinationConfig],
    name: str,
    *,
    identity: str,
    payload: bytes,
    routing_key: str | None,
    key: str | None,
    headers: Mapping[str, str],
) -> OutgoingMessage:
    """A message that this event caused, for the destination of this name. Raises PermanentError when there is none."""
    destination = destinations.get(name)
    if destination is None:
        raise PermanentError(f"no destination is called {name!r}")
    return OutgoingMessage(
        message_id=identity,
        destination=name,
        routing_key=destination.routing_key_for(
            type_=routing_key or event.type, key=key or event.key, source=event.source
        ),
        key=key or event.chain_key,
        content_type="application/json",
        payload=payload,
        headers={"traceparent": event.traceparent, **headers},
    )


def message_id(event_id: UUID, delivery_id: int, number: int) -> str:
    """The id of a published message: stable, so that a consumer recognises a repeat.

    A route is meant by its number, which a rename does not change.
    """
    route = str(route_id_of(delivery_id))
    return stable_uuid_text("message", str(event_id), route, str(number))


def encode(payload: Payload) -> bytes:
    """A message's bytes: a model by its aliases, a mapping as compact JSON, bytes as they are."""
    match payload:
        case bytes():
            data = payload
        case BaseModel():
            data = payload.model_dump_json(by_alias=True, exclude_none=True).encode()
        case _:
            # A number that came with a fraction is a Decimal, and goes out with every digit.
            data = write_json(payload, is_compact=True).encode()
    if len(data) > PAYLOAD_BYTES_MAX:
        raise PermanentError(f"a message of {len(data)} bytes is larger than {PAYLOAD_BYTES_MAX}")
    return data
