"""OpenTelemetry as the hub uses it. The SDK samples, batches, and sends in a thread of its own.

What cannot be sent is dropped: a collector that is away holds nothing up. The SDK reads ``OTEL_SERVICE_NAME``,
``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_…`` and ``OTEL_EXPORTER_OTLP_…`` by itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hub.errors import ConfigError
from hub.event import new_trace_id

SERVICE: Final = "hub"
EXPORTERS: Final = {"otlp": "otlp_proto_http"}
"""What OpenTelemetry calls an exporter → what its package registers."""
END_MS_MAX: Final = 2_000
"""How long a stop waits for the last spans to be sent."""

_KINDS: Final[Mapping[str, SpanKind]] = {kind.name.lower(): kind for kind in SpanKind}


class Tracing:
    """Makes spans with a provider, whose ids it chooses."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._ids = _Ids()
        provider.id_generator = self._ids  # type: ignore[assignment]  # inferred from its default
        self._tracer = provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    def span(
        self,
        name: str,
        kind: str,
        traceparent: str,
        attributes: Mapping[str, Any],
        *,
        start_ns: int | None = None,
        span_id: int | None = None,
    ) -> Span:
        """A span under this trace context, or at the beginning of a trace where there is none."""
        # Whatever else may be under way, the hub's spans belong to their event alone.
        parent = self._propagator.extract({"traceparent": traceparent}, context=_NOWHERE)
        self._ids.next_span_id = span_id
        try:
            return self._tracer.start_span(
                name, context=parent, kind=_KINDS[kind], attributes=attributes, start_time=start_ns
            )
        finally:
            self._ids.next_span_id = None

    def written(self, span: Span) -> str:
        """The span's trace context as a header carries it."""
        context = span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}"

    def fail(self, span: Span, words: str) -> None:
        """What it stands for went wrong."""
        span.set_status(Status(StatusCode.ERROR, words))

    def sampled(self, fresh: str) -> str:
        """A new trace context, marked as the sampler decides."""
        decision = self.provider.sampler.should_sample(None, int(fresh[3:35], 16), SERVICE).decision
        return f"{fresh[:-2]}{'00' if decision is Decision.DROP else '01'}"

    def close(self) -> None:
        """Send what is left, and end."""
        self.provider.force_flush(END_MS_MAX)
        self.provider.shutdown()


_NOWHERE: Final = TraceContextTextMapPropagator().extract({})


class _Ids(IdGenerator):
    """Trace ids begin with the time and end at random, as all of the hub's; a span's id may be given."""

    next_span_id: int | None = None

    def generate_trace_id(self) -> int:
        return int(new_trace_id(), 16)

    def generate_span_id(self) -> int:
        return self.next_span_id or int.from_bytes(os.urandom(8), "big") or 1


def provider_of(exporter: str) -> TracerProvider:
    """A provider that sends with the exporter of this name. Raises ConfigError when none of that name is installed."""
    found = list(entry_points(group="opentelemetry_traces_exporter", name=EXPORTERS.get(exporter, exporter)))
    if not found:
        raise ConfigError(f"OTEL_TRACES_EXPORTER: no exporter {exporter!r} is installed; otlp, console and none are")
    resource = Resource.create({} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: SERVICE})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    return provider
