"""Makes an event out of an example of routing.yaml, as if its source had sent it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from hub.errors import UnreadableError, UsageError
from hub.event import Event, Verdict
from hub.jsonbody import parse_json
from hub.routing.config import ExampleConfig, RouteConfig
from hub.routing.extract import Message
from hub.routing.load import LoadedRouting
from hub.routing.patterns import is_literal
from hub.routing.reach import reaches
from hub.routing.reader import EventReader

EXAMPLE_BYTES_MAX: Final = 16_777_216
_EXAMPLE_ID: Final = UUID(int=0)
_EXAMPLE_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
_EXAMPLE_TRACE: Final = f"00-{'0' * 31}1-{'0' * 15}1-00"


def event_of_example(loaded: LoadedRouting, route: RouteConfig, example: ExampleConfig) -> Event:
    """The event that this example stands for. Id and times are fixed: an example gives the same event each time.

    Raises UsageError when the file cannot be read or the source or type is not clear, UnreadableError when the body is
    not what its source declares.
    """
    payload = _read(loaded.path.parent / example.file)
    source = example.source or _source_of(loaded, route)
    routing_key = example.type or _type_of(loaded, route, source)
    headers = {name.lower(): value for name, value in example.headers.items()}
    declared = loaded.config.sources.get(source)
    type_, key = routing_key, None
    after: tuple[str, ...] = ()
    if declared is not None:
        reader = EventReader(declared.event)
        message = Message(_data(payload), headers, {"routing_key": routing_key})
        type_, key, after = reader.type(message), reader.key(message), reader.after(message)
    return Event(
        id=_EXAMPLE_ID,
        source=source,
        type=type_,
        key=key,
        dedupe_id=None,
        occurred_at=_EXAMPLE_TIME,
        received_at=_EXAMPLE_TIME,
        content_type="application/json",
        payload=payload,
        headers=headers,
        traceparent=_EXAMPLE_TRACE,
        verdict=Verdict.TRUSTED,
        after=after,
        routing_key=routing_key,
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            body = file.read(EXAMPLE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(body) > EXAMPLE_BYTES_MAX:
        raise UsageError(f"{path} is larger than {EXAMPLE_BYTES_MAX} bytes")
    return body


def _data(payload: bytes) -> object:
    try:
        return parse_json(payload)
    except UnreadableError:
        return None


def _source_of(loaded: LoadedRouting, route: RouteConfig) -> str:
    if len(route.source) == 1:
        return route.source[0]
    config = loaded.config
    declared = [*config.sources, *(f"schedule.{name}" for name in config.schedules)]
    able = [name for name in declared if reaches(config, name, route) is not None]
    if len(able) == 1:
        return able[0]
    if not able:
        return "internal"
    raise UsageError(f"more than one source can send this: name it with source: {', '.join(able)}")


def _type_of(loaded: LoadedRouting, route: RouteConfig, source: str) -> str:
    declared = loaded.config.sources.get(source)
    if declared is not None and declared.event.fixed_type is not None:
        return declared.event.fixed_type
    if len(route.match) == 1 and is_literal(route.match[0]):
        return route.match[0]
    if declared is not None and declared.event.type != "routing_key":
        return ""  # the message itself says it
    raise UsageError("the route matches more than one type: name the example's with type:")
