"""PayPal's API as the hub asks it: one token, closed outcomes, and calm when PayPal wants calm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from handlers.paypal.client import Answer, Call, CredentialsRefusedError, NoAnswerError, PaypalClient
from handlers.paypal.cooling import HITS, Cooling, PaypalBusyError
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.subscribing import read_created
from hub.calls.outcome import Declined, Outcome, Settled, Unknown
from hub.errors import ConfigError, UnreachableError
from hub.settings import read_settings
from tests.support.running import PROJECT

EXAMPLES: dict[str, Any] = json.loads((PROJECT / "tests/data/paypal/api_examples.json").read_bytes())
PING = Call("GET", "/v1/ping/SECRET-ID", "ping")


class Api:
    """A PayPal that counts its tokens; ``answers`` come one after the other, then 200."""

    def __init__(self) -> None:
        self.tokens = 0
        self.asked: list[str] = []
        self.is_silent = False
        self.answers: list[Callable[[], web.Response]] = []
        self.token_answers: list[Callable[[], web.Response]] = []

    async def token(self, request: web.Request) -> web.Response:
        self.tokens += 1
        if self.token_answers:
            return self.token_answers.pop(0)()
        return web.json_response({"access_token": f"T{self.tokens}", "expires_in": 32400})

    async def ping(self, request: web.Request) -> web.Response:
        self.asked.append(request.headers["Authorization"])
        if self.is_silent and request.transport is not None:
            request.transport.abort()
        return self.answers.pop(0)() if self.answers else web.json_response({})


def example(name: str) -> Callable[[], web.Response]:
    """A published answer."""
    one = EXAMPLES[name]
    text = one.get("body_text") or json.dumps(one["body"])
    return lambda: web.Response(status=one["status"], text=text, headers=one.get("headers"))


@pytest.fixture
async def api() -> AsyncIterator[tuple[Api, PaypalClient]]:
    api, app = Api(), web.Application()
    app.add_routes([web.post("/v1/oauth2/token", api.token), web.get("/v1/ping/{id}", api.ping)])
    server = TestServer(app)
    async with server:
        environ = {"HUB_SANDBOX": "1", "HUB_PAYPAL_BASE_URL": str(server.make_url("")), "HUB_HOME": "/nonexistent"}
        environ |= {"HUB_PAYPAL_CLIENT_ID": "c", "HUB_PAYPAL_SECRET": "s", "HUB_PAYPAL_WEBHOOK_ID": "w"}
        yield api, PaypalClient(read_settings(PaypalSettings, environ))


async def test_one_token_serves_all_and_is_renewed_once_after_a_401(api: tuple[Api, PaypalClient]) -> None:
    server, client = api
    await asyncio.gather(*(client.ask(PING) for _ in range(5)))
    assert (server.tokens, set(server.asked)) == (1, {"Bearer T1"})

    server.answers = [example("expired_token_401")]
    assert (await client.ask(PING)).status == 200
    assert (server.tokens, server.asked[-1]) == (2, "Bearer T2")

    server.answers = [example("expired_token_401")] * 2
    with pytest.raises(CredentialsRefusedError):
        await client.ask(PING)
    assert server.tokens == 3


@pytest.mark.parametrize("name", ["rate_limited_429", "rate_limited_429_no_hint", "rate_limited_429_not_json"])
async def test_a_hit_cools_all_calls_and_is_told_once(api: tuple[Api, PaypalClient], name: str) -> None:
    server, client = api
    server.answers = [example(name)]
    before = HITS.labels("ping")._value.get()

    with capture_logs() as logs:
        with pytest.raises(PaypalBusyError) as hit:
            await client.ask(PING)
        for _ in range(3):
            with pytest.raises(PaypalBusyError):
                await client.ask(PING)

    assert len(server.asked) == 1
    assert hit.value.delay_s == 30.0 if name == "rate_limited_429" else 0.5 <= (hit.value.delay_s or 0) <= 1.0
    (line,) = [one for one in logs if one["event"] == "paypal_rate_limited"]
    assert (line["endpoint"], line["attempt"]) == ("ping", 1)
    assert HITS.labels("ping")._value.get() == before + 1


async def test_a_hit_at_the_token_is_told_and_cools_as_any_other(api: tuple[Api, PaypalClient]) -> None:
    server, client = api
    server.token_answers = [example("rate_limited_429")]

    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(PaypalBusyError):
                await client.ask(PING)

    assert (server.tokens, server.asked) == (1, [])
    assert [one["endpoint"] for one in logs if one["event"] == "paypal_rate_limited"] == ["token"]


async def test_no_connection_means_that_nothing_happened_and_uses_up_no_attempt() -> None:
    environ = {"HUB_SANDBOX": "1", "HUB_PAYPAL_BASE_URL": "http://127.0.0.1:1", "HUB_HOME": "/nonexistent"}
    environ |= {"HUB_PAYPAL_CLIENT_ID": "c", "HUB_PAYPAL_SECRET": "s", "HUB_PAYPAL_WEBHOOK_ID": "w"}

    with pytest.raises(UnreachableError):
        await PaypalClient(read_settings(PaypalSettings, environ)).ask(PING)


def test_without_a_hint_the_wait_doubles_up_to_a_minute_and_a_hint_has_a_bound() -> None:
    cooling = Cooling(lambda: 0.0, lambda: 1.0)

    waits = [cooling.hit("x", headers={}, debug_id="").delay_s for _ in range(8)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert cooling.hit("x", headers={"Retry-After": "99999"}, debug_id="").delay_s == 600
    cooling.went_well()
    assert cooling.hit("x", headers={"Retry-After": "soon"}, debug_id="").delay_s == 1


async def test_silence_is_no_answer(api: tuple[Api, PaypalClient]) -> None:
    server, client = api
    server.is_silent = True

    with pytest.raises(NoAnswerError):
        await client.ask(PING)


PAGE = "https://paypal.example/approve"
LINKS = [{"rel": "self"}, {"rel": "approve", "href": PAGE}]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(201, {"id": "I-1", "links": LINKS}), Settled({"id": "I-1", "approval_url": PAGE})),
        (Answer(200, {"id": "I-1", "links": []}), Settled({"id": "I-1", "approval_url": None})),
        (Answer(201, None), Unknown("PayPal answers 201 without a subscription's id")),
        (Answer(422, EXAMPLES["subscription_create_422"]["body"]), Declined("PLAN_STATUS_INVALID")),
        (Answer(400, {"name": "INVALID_REQUEST"}), Declined("INVALID_REQUEST")),
        (Answer(409, {"name": "RESOURCE_CONFLICT"}), Unknown("PayPal answers 409 RESOURCE_CONFLICT")),
        (Answer(500, EXAMPLES["server_error_500"]["body"]), Unknown("PayPal answers 500 INTERNAL_SERVER_ERROR")),
        (Answer(502, None), Unknown("PayPal answers 502 HTTP_502")),
    ],
)
def test_what_an_answer_says_of_a_subscription(answer: Answer, outcome: Outcome) -> None:
    assert read_created(answer) == outcome


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"HUB_PAYPAL_ENVIRONMENT": "live", "HUB_PAYPAL_ACCEPT_SIMULATOR": "1"}, "ACCEPT_SIMULATOR"),
        ({"HUB_PAYPAL_ENVIRONMENT": "live", "HUB_PAYPAL_BASE_URL": "https://x.example"}, "BASE_URL"),
        ({"HUB_PAYPAL_ENVIRONMENT": "live", "HUB_SANDBOX": "1", "HUB_HOME": "/tmp/none"}, "HUB_SANDBOX=0"),
        ({"HUB_PAYPAL_BASE_URL": "https://x.example"}, "outside HUB_SANDBOX"),
        ({"HUB_PAYPAL_WEBHOOK_ID": "WEBHOOK_ID"}, "WEBHOOK_ID"),
        ({"HUB_SMTP_URL": "smtp://x"}, "together"),
    ],
)
def test_settings_that_would_let_strangers_in_stop_the_hub(environ: dict[str, str], problem: str) -> None:
    given = {"HUB_PAYPAL_CLIENT_ID": "c", "HUB_PAYPAL_SECRET": "s", "HUB_PAYPAL_WEBHOOK_ID": "w", **environ}
    with pytest.raises(ConfigError, match=problem):
        read_settings(PaypalSettings, given)
