"""Traces over OpenTelemetry: accept → deliver → call → publish, under the trace context that every event carries.

Off unless ``OTEL_…`` asks for it, and then free: each place looks at one variable. Begin with ``spans.py``; ``sdk.py``
is all that knows OpenTelemetry, and is loaded only where traces are wanted. Source: docs/operations.md, "Traces".
"""

from hub.tracing.spans import (
    accepting,
    calling,
    carried,
    delivered,
    provider,
    publishing,
    root_traceparent,
    start,
    stop,
    use,
)

__all__ = [
    "accepting",
    "calling",
    "carried",
    "delivered",
    "provider",
    "publishing",
    "root_traceparent",
    "start",
    "stop",
    "use",
]
