"""What the hub's own HTTP endpoints say about themselves in the API's description."""

from __future__ import annotations

from typing import Any, Final, Literal
from uuid import UUID

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from hub.apidoc.operation import Operation, documented
from hub.ingress.cloudevents import ATTRIBUTE_CHARS_MAX, STRUCTURED
from hub.ingress.events import post_events
from hub.ingress.health import healthz, metrics, readyz
from hub.ingress.problems import CONTENT_TYPE

WATCHING: Final = "Watching"
Attribute = Field(min_length=1, max_length=ATTRIBUTE_CHARS_MAX)


class Refusal(BaseModel):
    """RFC 9457. ``detail`` says what to correct, ``field`` where; ``accepted`` are the events that were taken."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str | None = None
    field: str | None = None


class PostedEvent(BaseModel):
    """A CloudEvent 1.0 with its payload, in either ``data`` or ``data_base64``."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: str = Attribute
    source: str = Field(min_length=1, max_length=ATTRIBUTE_CHARS_MAX, description="a source with `post_events: true`")
    type: str = Attribute
    time: AwareDatetime | None = None
    datacontenttype: str | None = None
    data: Any = None
    data_base64: str | None = None


class TakenEvent(BaseModel):
    """What became of one event: ``problem`` where it is kept, but cannot be read."""

    id: str
    event_id: UUID
    kind: str
    problem: str | None = None


class Alive(BaseModel):
    """It answers."""

    status: Literal["ok"]


class Check(BaseModel):
    """One check, and what it found."""

    ok: bool
    detail: str


class Ready(BaseModel):
    """Every check by name."""

    status: Literal["ok", "failing"]
    checks: dict[str, Check]


POST_EVENTS: Final = Operation(
    summary="Hand over events as CloudEvents.",
    description=(
        "One event in the structured form; also the binary form, and batches as application/cloudevents-batch+json, "
        "which are taken whole or not at all. Repeats are recognised by the id."
    ),
    tag="Events",
    body=PostedEvent,
    body_media=STRUCTURED,
    reply=TakenEvent,
    is_list=True,
    statuses=(202,),
    errors={
        400: "what cannot be read, with its place",
        401: "no API key, or none that is known",
        403: "the key lacks the role `client`",
        415: "another format, or a compressed body",
        503: "come again later; `accepted` are those that were taken",
    },
    problem=Refusal,
    problem_media=CONTENT_TYPE,
    security="key",
)


_WATCHED: Final[dict[str, Any]] = {"tag": WATCHING, "security": "none"}
_ALIVE: Final = Operation(summary="Is the process alive?", reply=Alive, **_WATCHED)
_READY: Final = Operation(summary="Is everything ready?", reply=Ready, statuses=(200, 503), **_WATCHED)
_COUNTED: Final = Operation(summary="What is counted, for Prometheus.", reply="text/plain", **_WATCHED)

PROBES: Final = (
    web.get("/healthz", documented(healthz, _ALIVE)),
    web.get("/readyz", documented(readyz, _READY)),
    web.get("/metrics", documented(metrics, _COUNTED)),
)
OWN_ROUTES: Final = (web.post("/events", documented(post_events, POST_EVENTS)), *PROBES)
"""``POST /events``, the probes and the metrics, with their descriptions."""
