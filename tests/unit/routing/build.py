"""What the routing tests build: files from text, events from a body."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from hub.errors import ConfigError
from hub.event import Event, Verdict
from hub.routing import Known, LoadedRouting, load_text

DATA = Path(__file__).with_name("data")
SECRET = "hush-hush-0815"
ENVIRON = {"SEPAY_WEBHOOK_API_KEY": SECRET}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(
    type_: str = "order.paid",
    body: bytes | str = b"{}",
    *,
    source: str = "shop",
    key: str | None = None,
    headers: dict[str, str] | None = None,
    message_id: str = "",
) -> Event:
    return Event(
        id=UUID(int=1),
        source=source,
        type=type_,
        key=key,
        dedupe_id=None,
        occurred_at=NOON,
        received_at=NOON,
        content_type="application/json",
        payload=body.encode() if isinstance(body, str) else body,
        headers=headers or {},
        traceparent=f"00-{'1' * 32}-{'2' * 16}-01",
        verdict=Verdict.VALID,
        routing_key=type_,
        message_id=message_id,
    )


def load(text: str, *, environ: dict[str, str] | None = None, known: Known | None = None) -> LoadedRouting:
    return load_text(text, environ=environ or {}, known=known)


def problems(text: str, *, environ: dict[str, str] | None = None, known: Known | None = None) -> list[str]:
    """Every mistake in the text, as ``line:column: message``."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ=environ, known=known)
    return [str(problem).removeprefix("routing.yaml:") for problem in caught.value.problems]


def rules(*routes: str) -> LoadedRouting:
    """A file with these routes, each in one line, and one source ``shop`` that can send anything."""
    lines = "\n".join(f"  - {{ {route} }}" for route in routes)
    return load(
        "version: 1\n"
        "capabilities: [handlers.shop]\n"
        "sources:\n"
        "  shop: { post_events: true, event: { type: routing_key }, mask: [data.card] }\n"
        "  till: { post_events: true, event: { type: routing_key } }\n"
        "destinations:\n"
        "  out: { queue: out }\n"
        "  other: { queue: other }\n"
        f"routes:\n{lines}\n"
    )
