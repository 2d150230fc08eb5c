"""A real HTTP server over an inbox that the tests control."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from hub.capability import CheckResult
from hub.clock import SystemClock
from hub.event import uuid7
from hub.inbox.received import Accepted, Received
from hub.ingress.endpoints import EndpointTable
from hub.ingress.schemes import SchemeRegistry
from hub.ingress.server import IngressDeps, Serving, build_app, serve
from hub.ingress.tokens import ApiKeys, Doorman, Tokens
from hub.routing.sources import SourceConfig
from hub.settings import load_settings
from tests.support.patience import STILL_S_MAX, until

SECRET = "webhook-secret-0001"
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)

SOURCES: dict[str, dict[str, Any]] = {
    "bank": {
        "webhook": {
            "path": "/webhooks/bank",
            "aliases": ["/api/old/webhook/"],
            "auth": {"scheme": "api_key", "prefix": "Apikey", "secret": SECRET},
            "body_bytes_max": 2_000,
        },
        "event": {"type": "bank.transfer", "id": "data.id"},
        "reply": {
            "ok": [200, {"success": True}],
            "unreadable": [400, {"success": False, "message": "Invalid payload"}],
            "unauthorized": [401, {"success": False, "message": "Unauthorized"}],
            "unavailable": [503, {"success": False, "message": "Later"}],
        },
        "post_events": True,
    },
    "signed": {
        "webhook": {
            "path": "/webhooks/signed",
            "auth": {
                "scheme": "hmac",
                "signature_header": "X-Sign",
                "timestamp_header": "X-Time",
                "secret": SECRET,
            },
            "body_bytes_max": 11_000_000,
        },
        "event": {"type": "signed.event"},
    },
    "unproven": {
        "webhook": {"path": "/webhooks/unproven", "auth": {"scheme": "none", "allow_unauthenticated": True}},
        "event": {"type": "unproven.received", "id": "body_hash"},
        "verify": "deferred",
        "unproven": {"per_minute": 3, "bytes_per_minute": 1_000},
    },
    "hidden": {"queue": {"name": "hidden"}, "event": {"type": "routing_key"}},
}


class FixedClock(SystemClock):
    """The machine's clock, but for the time of day."""

    def now(self) -> datetime:
        return NOW


@dataclass
class FakeInbox:
    """Keeps what it is given and answers as it is told; a message with the same body and source is a duplicate."""

    received: list[Received] = field(default_factory=list)
    error: Exception | None = None
    kind: str | None = None
    gate: asyncio.Event | None = None
    ids: dict[tuple[str, bytes], UUID] = field(default_factory=dict)
    soon: int = 0
    """How many came the short way."""
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def accept(self, received: Received) -> Accepted:
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.received.append(received)
        known = self.ids.get((received.source, received.body))
        event_id = self.ids.setdefault((received.source, received.body), uuid7())
        if self.kind == "unreadable":
            return Accepted("unreadable", event_id, "line 1, column 1: expected JSON")
        return Accepted("duplicate" if known else "event", event_id)


class SoonInbox(FakeInbox):
    """The same, for who has no task that could wait; what it answers is known when its tasks are done."""

    def accept_soon(self, received: Received, tell: Callable[[Accepted | Exception], None]) -> None:
        async def answer() -> None:
            try:
                outcome: Accepted | Exception = await self.accept(received)
            except Exception as error:
                outcome = error
            tell(outcome)

        self.soon += 1
        task = asyncio.get_running_loop().create_task(answer())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


@dataclass
class Harness:
    """The server, its inbox, and a client."""

    serving: Serving
    inbox: FakeInbox
    table: EndpointTable
    http: aiohttp.ClientSession
    registry: CollectorRegistry
    checks: list[CheckResult]
    deps: IngressDeps

    @property
    def url(self) -> str:
        return self.serving.url

    async def webhook(
        self,
        body: bytes = b'{"id": 1}',
        *,
        path: str = "/webhooks/bank",
        key: str = SECRET,
        more: Mapping[str, str] | None = None,
        **headers: str,
    ) -> Answer:
        names = {"Authorization": f"Apikey {key}", **(more or {})}
        names |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.send("POST", path, body, names)

    async def send(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        # aiohttp's client warns about large bodies that are not files.
        data = io.BytesIO(body) if isinstance(body, bytes) and len(body) > 1_000_000 else body
        async with self.http.request(
            method, f"{self.url}{path}", data=data, headers=headers, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    async def requests_in_hand(self, count: int) -> None:
        """Wait until so many requests are being answered."""
        await until(lambda: self.metric("hub_http_requests_in_hand") == count)

    async def raw(self, data: bytes, *, end: bytes | None = None) -> bytes:
        """Send bytes as they are, and read until the server closes, or these bytes have come."""
        reader, writer = await asyncio.open_connection(self.serving.host, self.serving.port)
        try:
            writer.write(data)
            answer = b""
            async with asyncio.timeout(STILL_S_MAX):
                while (end is None or end not in answer) and (chunk := await reader.read(65_536)):
                    answer += chunk
            return answer
        finally:
            writer.close()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def sign(body: bytes) -> dict[str, str]:
    """The headers of a request that the source ``signed`` accepts."""
    stamp = str(int(NOW.timestamp()))
    digest = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Sign": digest, "X-Time": stamp, "Content-Type": "application/json"}


Start = Callable[..., Awaitable[Harness]]


def sources(config: Mapping[str, Mapping[str, Any]]) -> dict[str, SourceConfig]:
    return {name: SourceConfig.model_validate(source) for name, source in config.items()}


@pytest.fixture(params=[FakeInbox, SoonInbox], ids=["usual way", "short way"])
def kind_of_inbox(request: pytest.FixtureRequest) -> type[FakeInbox]:
    """Every promise holds on both ways that a webhook may go."""
    return cast(type[FakeInbox], request.param)


@pytest.fixture
async def start(kind_of_inbox: type[FakeInbox]) -> AsyncIterator[Start]:
    """Start a server, with other settings or routes where a test says so."""
    running: list[Harness] = []

    async def begin(routes: Sequence[web.AbstractRouteDef] = (), **settings: str) -> Harness:
        inbox, table, checks = kind_of_inbox(), EndpointTable(), [CheckResult("database", True, "answers")]
        table.replace(sources(SOURCES), SchemeRegistry())

        async def ready() -> Sequence[CheckResult]:
            return checks

        tokens = Tokens(secret="a shared secret that is long enough")
        deps = IngressDeps(
            settings=load_settings({f"HUB_{name.upper()}": value for name, value in settings.items()}),
            clock=FixedClock(),
            acceptor=inbox,
            doorman=Doorman(ApiKeys.read("admin-key", "eye:viewer:eye-key"), tokens),
            table=table,
            ready=ready,
            registry=CollectorRegistry(),
            routes=routes,
        )
        serving = await serve(build_app(deps), "127.0.0.1", 0)
        http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20))
        running.append(Harness(serving, inbox, table, http, deps.registry, checks, deps))
        return running[-1]

    yield begin
    for harness in running:
        await harness.http.close()
        await harness.serving.stop(1.0)


@pytest.fixture
async def hub(start: Start) -> Harness:
    """A server with default settings."""
    return await start()
