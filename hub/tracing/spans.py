"""The spans of an event's way, and where each begins and ends. Every function returns at once while traces are off.

A delivery is told of only once it is committed, while the messages that it caused carry its span's id already: so that
id follows from the delivery and its attempt. Source: W3C Trace Context; OpenTelemetry, "Messaging spans".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from hub.event import stable_hash

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from hub.deliver.settle import Attempt
    from hub.deliver.work import Work
    from hub.inbox.received import Accepted, Received
    from hub.tracing.sdk import Tracing
    from hub.transports.base import OutboundMessage

EXPORTER: Final = "OTEL_TRACES_EXPORTER"
ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
NS: Final = 1_000_000_000
MS: Final = 1_000_000
"""Nanoseconds in a second and in a millisecond."""

_tracing: Tracing | None = None


def start(environ: Mapping[str, str]) -> None:
    """Begin to trace where these variables ask for it. Raises ConfigError for an exporter that is not installed."""
    exporter = _wanted(environ)
    if exporter is not None:
        from hub.tracing.sdk import provider_of  # noqa: PLC0415 - only where traces are wanted

        use(provider_of(exporter))


def use(maker: TracerProvider | None) -> None:
    """Trace with this provider from now on; None ends it."""
    global _tracing  # noqa: PLW0603 - one per process, as OpenTelemetry has it
    ended, _tracing = _tracing, None
    if ended is not None:
        ended.close()
    if maker is not None:
        from hub.tracing.sdk import Tracing  # noqa: PLC0415

        _tracing = Tracing(maker)


def provider() -> TracerProvider | None:
    """What traces are made with, for libraries that make spans of their own; None while traces are off."""
    return _tracing.provider if _tracing is not None else None


def stop() -> None:
    """Send what is left, within a bound, and end."""
    use(None)


def root_traceparent(fresh: str) -> str:
    """The trace context of something that the hub begins itself: ``fresh``, sampled or not as the sampler says."""
    return fresh if _tracing is None else _tracing.sampled(fresh)


def carried(work: Work) -> Work:
    """The same delivery with the trace context that the calls, events and messages of this attempt carry on."""
    if _tracing is None:
        return work
    head, flags = work.event.traceparent[:36], work.event.traceparent[-2:]
    return replace(work, event=replace(work.event, traceparent=f"{head}{_span_id(work):016x}-{flags}"))


@dataclass(slots=True)
class Acceptance:
    """Messages that are being accepted, each under its span, and the inbox's answers once there are any."""

    messages: Sequence[Received]
    answers: list[Accepted] = field(default_factory=list)


@contextmanager
def accepting(messages: Sequence[Received]) -> Iterator[Acceptance]:
    """Around the acceptance of these messages; what follows from each is under its span."""
    if _tracing is None:
        yield Acceptance(messages)
        return
    # Without a parent a span begins a trace, and the sampler decides on it.
    spans = [
        _tracing.span(f"accept {one.source}", "consumer", one.traceparent, {"hub.source": one.source})
        for one in messages
    ]
    acceptance = Acceptance(
        [replace(one, traceparent=_tracing.written(span)) for one, span in zip(messages, spans, strict=True)]
    )
    with _ended(spans):
        yield acceptance
        for span, answer in zip(spans, acceptance.answers, strict=True):
            span.set_attributes({"hub.event.id": str(answer.event_id), "hub.inbox.kind": answer.kind})


def delivered(attempts: Iterable[Attempt], route: str) -> None:
    """These attempts of deliveries of one route are committed."""
    if _tracing is None:
        return
    for attempt in attempts:
        work, ending = attempt.work, attempt.ending
        name = type(ending).__name__.lower()
        if name == "calling":
            # Handed to a task of its own, which tells its end under the same attempt.
            continue
        start_ns = int(attempt.started_at.timestamp() * NS)
        attributes = {
            "hub.event.id": str(work.event.id),
            "hub.event.type": work.event.type,
            "hub.source": work.event.source,
            "hub.attempt": work.attempts + 1,
            "hub.ending": name,
            "hub.outcome": getattr(ending, "outcome", ""),
        }
        parent, span_id = work.event.traceparent, _span_id(work)
        span = _tracing.span(f"deliver {route}", "consumer", parent, attributes, start_ns=start_ns, span_id=span_id)
        if error := getattr(ending, "kind", "") or getattr(ending, "error", ""):
            _tracing.fail(span, error)
        span.end(start_ns + int(attempt.duration_ms * MS))


@contextmanager
def calling(provider: str, step: str, traceparent: str) -> Iterator[None]:
    """Around one call of a provider."""
    if _tracing is None:
        yield
        return
    attributes = {"hub.provider": provider, "hub.step": step}
    span = _tracing.span(f"call {provider} {step}", "client", traceparent, attributes)
    with _ended([span]):
        yield


@contextmanager
def publishing(messages: Sequence[OutboundMessage]) -> Iterator[None]:
    """Around one round of publishing: a span for each message, under whatever caused it."""
    if _tracing is None:
        yield
        return
    spans = [
        _tracing.span(
            f"publish {one.exchange}",
            "producer",
            one.headers.get("traceparent", ""),
            {"messaging.destination.name": one.exchange, "messaging.message.id": one.message_id},
        )
        for one in messages
    ]
    with _ended(spans):
        yield


@contextmanager
def _ended(spans: Sequence[Span]) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        for span in spans:
            _fail(span, error)
        raise
    finally:
        for span in spans:
            span.end()


def _fail(span: Span, error: BaseException) -> None:
    if _tracing is not None:
        # The class of an error, never its text: that may quote a message.
        _tracing.fail(span, type(error).__name__)


def _span_id(work: Work) -> int:
    return int.from_bytes(stable_hash("span", str(work.id), str(work.attempts))[:8], "big") or 1


def _wanted(environ: Mapping[str, str]) -> str | None:
    """The name of the exporter that the environment asks for, if any."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    named = environ.get(EXPORTER, "").strip()
    if named:
        return None if named == "none" else named
    return "otlp" if any(environ.get(name, "").strip() for name in ENDPOINTS) else None
