"""From what was received to a draft: read it as its source declares, check it, route it. No database here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from pydantic import BaseModel, ValidationError

from hub import tracing
from hub.clock import Clock
from hub.errors import UnreadableError, UsageError
from hub.event import Event, Verdict, new_traceparent, stable_hash
from hub.formbody import parse_body
from hub.inbox.doubt import doubt_of
from hub.inbox.draft import Draft
from hub.inbox.identity import carrier_identity, identity_hash, own_identity, unreadable_identity
from hub.inbox.received import Received
from hub.jsonbody import parse_json
from hub.routing import Condition, ConditionError, EventReader, Facts, Message, Router, SourceConfig, sameness_hash

log: structlog.stdlib.BoundLogger = structlog.get_logger("hub.inbox")

HOPS_MAX = 32
"""How many events may follow from one another before the hub takes it for a loop."""
CONTENT_TYPE_CHARS_MAX = 200
TRACEPARENT_CHARS = 55
INTERNAL, TIMER, COMMAND = "internal", "timer", "command"


@dataclass(frozen=True, slots=True)
class CompiledSource:
    """One source of routing.yaml, ready to read messages."""

    name: str
    config: SourceConfig
    reader: EventReader
    model: type[BaseModel] | None
    without_identity: Condition | None


class Drafter:
    """Makes drafts by the rules of one version of routing.yaml; a reload makes a new one."""

    def __init__(self, router: Router, sources: Mapping[str, CompiledSource], clock: Clock) -> None:
        self.router = router
        self.sources = sources
        self._clock = clock

    def draft(self, received: Received) -> Draft:
        """Read one message of a declared source. What cannot be read becomes a draft with a problem, never an error.

        Raises UsageError for a source that is not declared.
        """
        source = self.sources.get(received.source)
        if source is None:
            raise UsageError(f"no source is called {received.source!r}; declared are {', '.join(sorted(self.sources))}")
        now, received = self._clock.now(), _storable(received)
        try:
            return self._readable(source, received, now)
        except (UnreadableError, ConditionError) as error:
            return self._unreadable(source, received, str(error), now)
        except Exception as error:
            # A mistake of ours. A queue would hand the message out for ever, and hold back all that lies behind it.
            # Only the class is told: the words of a stranger's error may quote the message.
            log.exception("message_not_read", source=source.name)
            return self._unreadable(source, received, f"the hub failed to read it: {type(error).__name__}", now)

    def _readable(self, source: CompiledSource, received: Received, now: datetime) -> Draft:
        if source.config.is_unproven:
            return self._unproven(source, received, now)
        data, reader = _read(source.config, received), source.reader
        message = Message(data, received.headers, _properties(received))
        type_ = reader.type(message)
        is_asked = source.without_identity is not None
        event = Event(
            id=self._clock.new_id(),
            source=received.source,
            type=type_,
            key=reader.key(message),
            after=reader.after(message),
            dedupe_id=None if is_asked else reader.dedupe_id(type_, message, received.body),
            occurred_at=reader.occurred_at(message) or now,
            received_at=now,
            content_type=received.content_type,
            payload=received.body,
            headers=received.headers,
            traceparent=received.traceparent or new_traceparent(),
            verdict=received.verdict,
            routing_key=received.routing_key,
            message_id=received.message_id,
            _data=[data],
        )
        _check(source.model, event)
        if source.without_identity is not None and not source.without_identity.holds(Facts(event)):
            event = replace(event, dedupe_id=reader.dedupe_id(type_, message, received.body))
        if event.dedupe_id is None:
            return Draft(event, self.router.route(event), *_handed_out(source, received), doubt=doubt_of(received))
        same_hash = sameness_hash(data, source.config.event.same)
        return Draft(event, self.router.route(event), identity_hash(source.name, event.dedupe_id), same_hash)

    def _unproven(self, source: CompiledSource, received: Received, now: datetime) -> Draft:
        """A message whose sender a handler is still to prove: its body is not even read, and decides nothing."""
        reader = source.reader
        message = Message(None, received.headers, _properties(received))
        type_ = reader.type(message)
        dedupe_id = reader.dedupe_id(type_, message, received.body)
        assert dedupe_id is not None, "the file was refused without body_hash in each alternative"
        event = replace(_unread_event(received, self._clock, now), type=type_, dedupe_id=dedupe_id)
        same_hash = stable_hash("body", received.body)
        return Draft(event, self.router.route(event), identity_hash(source.name, dedupe_id), same_hash)

    def _unreadable(self, source: CompiledSource, received: Received, problem: str, now: datetime) -> Draft:
        event = _unread_event(received, self._clock, now)
        # A webhook's sender repeats what it was not thanked for; a queue's message that comes again is another one.
        if source.config.webhook is None:
            return Draft(event, [], *_handed_out(source, received), problem=problem, doubt=doubt_of(received))
        return Draft(event, [], unreadable_identity(source.name, received.body), problem=problem)

    def internal(
        self,
        type_: str,
        payload: bytes,
        *,
        source: str = INTERNAL,
        key: str | None = None,
        after: Sequence[str] = (),
        dedupe_id: str | None = None,
        traceparent: str = "",
        hops: int = 0,
        cause: UUID | None = None,
    ) -> Draft:
        """An event made by the hub itself: by a handler, a timer, a schedule or a command."""
        now = self._clock.now()
        event = Event(
            id=self._clock.new_id(),
            source=source,
            type=type_,
            key=key,
            after=tuple(after),
            dedupe_id=dedupe_id,
            occurred_at=now,
            received_at=now,
            content_type="application/json",
            payload=payload,
            headers={},
            traceparent=traceparent or tracing.root_traceparent(new_traceparent()),
            verdict=Verdict.TRUSTED,
            hops=hops,
            routing_key=type_,
        )
        if hops > HOPS_MAX:
            problem = f"{hops} events followed from one another: the routes form a loop"
            return Draft(event, [], problem=problem, cause=cause)
        matches = self.router.route(event)
        if dedupe_id is None:
            return Draft(event, matches, cause=cause)
        return Draft(event, matches, own_identity(source, type_, dedupe_id), _same_hash(event), cause=cause)


def _read(config: SourceConfig, received: Received) -> Any:
    takes_forms = config.webhook is not None and config.webhook.forms
    return parse_body(received.body, received.content_type) if takes_forms else parse_json(received.body)


def _same_hash(event: Event) -> bytes:
    # A handler may set a timer with any bytes, and must not be able to stop the scheduler with them.
    try:
        return sameness_hash(event.data, None)
    except UnreadableError:
        return stable_hash(event.payload)


def _storable(received: Received) -> Received:
    """The message with words of the carrier that every database can hold; nearly always they are."""
    names = (received.routing_key, received.message_id, received.content_type)
    words = (*names, *received.headers, *received.headers.values())
    together = "".join(words)
    is_fit = (together.isascii() and "\x00" not in together) or all(_storable_text(word) is word for word in words)
    if is_fit and len(received.content_type) <= CONTENT_TYPE_CHARS_MAX and _is_traceparent(received.traceparent):
        return received
    return replace(
        received,
        routing_key=_storable_text(received.routing_key),
        message_id=_storable_text(received.message_id),
        headers={_storable_text(name): _storable_text(value) for name, value in received.headers.items()},
        content_type=_storable_text(received.content_type)[:CONTENT_TYPE_CHARS_MAX],
        traceparent=received.traceparent if _is_traceparent(received.traceparent) else "",
    )


def _storable_text(text: str) -> str:
    """The text itself, or, where it holds a NUL or half a surrogate pair, its beginning and a hash of the whole."""
    if text.isascii() and "\x00" not in text:
        return text
    exact = text.encode("utf-8", "surrogatepass")
    readable = exact.decode("utf-8", "replace").replace("\x00", "\ufffd")
    return text if readable == text else f"{readable[:60]}…{stable_hash(exact).hex()}"


def _is_traceparent(text: str) -> bool:
    return text == "" or (len(text) == TRACEPARENT_CHARS and text.isascii())


def _handed_out(source: CompiledSource, received: Received) -> tuple[bytes | None, bytes]:
    """The identity of a message that has no id of its own, where its queue tells a repeat from a new one."""
    if not received.carrier_ref:
        return None, b""
    return carrier_identity(source.name, received.carrier_ref), b""


def _unread_event(received: Received, clock: Clock, now: datetime) -> Event:
    """The event of a message of which only its carrier's words are known."""
    return Event(
        id=clock.new_id(),
        source=received.source,
        type=received.routing_key,
        key=None,
        dedupe_id=None,
        occurred_at=now,
        received_at=now,
        content_type=received.content_type,
        payload=received.body,
        headers=received.headers,
        traceparent=received.traceparent or new_traceparent(),
        verdict=received.verdict,
        routing_key=received.routing_key,
        message_id=received.message_id,
    )


def _properties(received: Received) -> dict[str, str]:
    timestamp = received.timestamp.isoformat() if received.timestamp is not None else ""
    return {"message_id": received.message_id, "routing_key": received.routing_key, "timestamp": timestamp}


def _check(model: type[BaseModel] | None, event: Event) -> None:
    if model is None:
        return
    try:
        event.read_as(model)
    except ValidationError as error:
        raise UnreadableError(problem_of(error)) from error


def problem_of(error: ValidationError) -> str:
    """The first mistake that a model found, as text with its field path; never the value, which may be personal."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "body"
    more = error.error_count() - 1
    return f"{field}: {first['msg']}" + (f" (and {more} more)" if more else "")
