"""The server around the endpoints: probes, errors, capabilities' routes, starting and stopping."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from hub.capability import CheckResult
from hub.errors import ConfigError, StoreUnavailableError, UnreadableError, UsageError
from hub.ingress.endpoints import EndpointTable
from hub.ingress.schemes import SchemeRegistry
from hub.ingress.server import build_app, serve
from tests.integration.ingress.conftest import SOURCES, Harness, Start, sources
from tests.support.patience import STILL_S_MAX


async def test_the_process_says_that_it_is_alive(hub: Harness) -> None:
    answer = await hub.send("GET", "/healthz")

    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})
    assert "Server" not in answer.headers


async def test_readiness_follows_the_checks(hub: Harness) -> None:
    ready = await hub.send("GET", "/readyz")
    hub.checks.append(CheckResult("lanes", False, "no owner for 12 s"))
    failing = await hub.send("GET", "/readyz")

    assert ready.status == 200
    assert failing.status == 503
    assert json.loads(failing.body) == {
        "status": "failing",
        "checks": {
            "database": {"ok": True, "detail": "answers"},
            "lanes": {"ok": False, "detail": "no owner for 12 s"},
        },
    }


async def test_metrics_are_in_prometheus_form(hub: Harness) -> None:
    await hub.webhook()

    answer = await hub.send("GET", "/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert b'hub_webhook_requests_total{result="event",source="bank"} 1.0' in answer.body
    assert b"hub_ingress_ack_seconds_bucket" in answer.body


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("POST", "/webhooks/nobody", 404), ("GET", "/events", 405), ("POST", "/healthz", 405)],
)
async def test_what_does_not_exist_is_a_problem(hub: Harness, method: str, path: str, status: int) -> None:
    answer = await hub.send(method, path)

    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == status
    assert status != 405 or answer.headers["Allow"]


async def test_a_capabilitys_routes_are_served_with_and_without_a_slash(start: Start) -> None:
    async def show(request: web.Request) -> web.Response:
        return web.json_response({"id": request.match_info["id"]})

    async def take(request: web.Request) -> web.Response:
        return web.json_response(await request.json(), status=201)

    hub = await start([web.get("/api/items/{id}/", show, name="item"), web.post("/api/items", take)])

    for path in ("/api/items/7", "/api/items/7/"):
        assert json.loads((await hub.send("GET", path)).body) == {"id": "7"}
    for path in ("/api/items", "/api/items/"):
        assert (await hub.send("POST", path, b'{"a": 1}')).body == b'{"a": 1}'


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (RuntimeError("password=hunter2"), 500, None),
        (StoreUnavailableError("postgresql://u:hunter2@db"), 503, None),
        (ConnectionResetError("hunter2"), 503, None),
        (UsageError("no such order"), 400, "no such order"),
        (UnreadableError("expected a number", field="amount"), 400, "amount: expected a number"),
        (web.HTTPForbidden(), 403, None),
    ],
)
async def test_an_error_in_a_capability_becomes_a_problem_that_tells_no_secret(
    start: Start, error: Exception, status: int, detail: str | None
) -> None:
    async def fail(_request: web.Request) -> web.Response:
        raise error

    hub = await start([web.get("/api/fail", fail)])
    with structlog.testing.capture_logs() as logs:
        answer = await hub.send("GET", "/api/fail")

    assert answer.status == status
    assert json.loads(answer.body).get("detail") == detail
    assert b"hunter2" not in answer.body
    assert hub.metric("hub_http_problems_total", status=str(status)) == 1
    assert status < 500 or any(log["log_level"] == "error" for log in logs)


async def test_a_capability_keeps_the_error_shape_of_its_api(start: Start) -> None:
    async def fail(_request: web.Request) -> web.Response:
        raise web.HTTPBadRequest(text='{"detail": "too small", "code": "amount"}', content_type="application/json")

    hub = await start([web.get("/api/fail", fail)])
    answer = await hub.send("GET", "/api/fail")

    assert (answer.status, json.loads(answer.body)["code"]) == (400, "amount")


async def test_a_capabilitys_bodies_have_the_same_bounds(start: Start) -> None:
    async def take(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    hub = await start([web.post("/api/take", take)], body_s_max="0.3", body_bytes_max="2000")

    large = await hub.send("POST", "/api/take", b"x" * 2_001)
    packed = await hub.send("POST", "/api/take", b"x", {"Content-Encoding": "gzip"})
    slow = await hub.raw(b"POST /api/take HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx", end=b"\r\n\r\n")

    assert (large.status, packed.status) == (413, 415)
    assert slow.startswith(b"HTTP/1.1 408 ")
    assert (await hub.send("POST", "/api/take", b"x" * 2_000)).body == b"2000"
    assert (await hub.send("POST", "/api/take")).body == b"0"


async def test_a_port_in_use_is_told_clearly(hub: Harness) -> None:
    with pytest.raises(ConfigError, match=f"HUB_PORT: port {hub.serving.port} on 127.0.0.1 is in use") as caught:
        await serve(build_app_again(hub), "127.0.0.1", hub.serving.port)

    assert "set HUB_PORT" in str(caught.value)


async def test_an_address_of_another_machine_is_told_clearly(hub: Harness) -> None:
    with pytest.raises(ConfigError, match=r"HUB_HOST: 192\.0\.2\.1 is no address of this machine"):
        await serve(build_app_again(hub), "192.0.2.1", 0)


def build_app_again(hub: Harness) -> web.Application:
    return build_app(replace(hub.deps, registry=CollectorRegistry()))


async def test_a_stop_answers_what_is_in_hand_and_takes_nothing_more(hub: Harness) -> None:
    hub.inbox.gate = asyncio.Event()
    waiting = asyncio.create_task(hub.webhook())
    await hub.requests_in_hand(1)

    stopping = asyncio.create_task(hub.serving.stop(10.0))
    await asyncio.sleep(0.05)
    with pytest.raises(OSError):
        await asyncio.open_connection(hub.serving.host, hub.serving.port)
    hub.inbox.gate.set()

    assert (await waiting).status == 200
    async with asyncio.timeout(STILL_S_MAX):
        await stopping


async def test_a_stop_does_not_wait_longer_than_its_deadline(hub: Harness) -> None:
    hub.inbox.gate = asyncio.Event()
    waiting = asyncio.create_task(hub.webhook())
    await hub.requests_in_hand(1)

    # What is in hand would never end.
    async with asyncio.timeout(STILL_S_MAX):
        await hub.serving.stop(0.2)

    with pytest.raises(Exception, match=r"disconnected|reset"):
        await waiting


def test_mistakes_of_all_sources_are_told_at_once_and_change_nothing() -> None:
    table = EndpointTable()
    table.replace(sources(SOURCES), SchemeRegistry())
    bank, signed = SOURCES["bank"], SOURCES["signed"]
    broken = {
        "bank": {**bank, "webhook": {**bank["webhook"], "auth": {"scheme": "api_ky"}}},
        "signed": signed,
        "again": {**signed, "webhook": {**signed["webhook"], "path": "/webhooks/signed/"}},
        "taken": {**signed, "webhook": {**signed["webhook"], "path": "/events"}},
    }

    with pytest.raises(ConfigError) as caught:
        table.replace(sources(broken), SchemeRegistry())

    text = str(caught.value)
    assert "sources.bank.webhook.auth: auth scheme: expected one of" in text
    assert "did you mean 'api_key'?" in text
    assert "sources.again.webhook: the path /webhooks/signed belongs to the source signed" in text
    assert "sources.taken.webhook: the path /events belongs to the hub itself" in text
    assert table.find("/webhooks/bank/") is not None
    assert set(table.posted) == {"bank"}
