"""The bank that the sandbox plays: its bodies settle, its signatures verify."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.sepay.sandbox import BANK_STYLES, Answer, Payment, deliver, signed_headers, webhook_body
from handlers.sepay.settings import SepaySettings
from handlers.sepay.settle import settle_transfer
from hub.errors import UsageError
from hub.jsonbody import parse_json
from hub.settings import read_settings
from tests.unit.sepay.bench import ask_for_topup, wallet_balance
from tests.unit.sepay.conftest import ACCOUNT
from tests.unit.sepay.desk import Desk

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data/sepay/webhook_auth_vectors.json").read_text(encoding="utf-8")
)
NOW = datetime(2024, 11, 15, 2, 35, tzinfo=UTC)


@pytest.mark.parametrize("bank", BANK_STYLES)
async def test_every_bank_s_transfer_is_recognised(desk: Desk, bank: str) -> None:
    reply = await ask_for_topup(desk)
    payment = Payment(id=1, code=reply.transfer_content, amount_minor=100_000, booked_at=desk.now, bank=bank)

    caused = await desk.run(settle_transfer, parse_json(webhook_body(payment, ACCOUNT)))

    assert caused.outcome == "credited"
    assert await wallet_balance(desk) == 100_000


def test_an_unknown_bank_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="expected one of bidv, vietcombank"):
        webhook_body(Payment(id=1, code="X", amount_minor=1, booked_at=NOW, bank="acme"), ACCOUNT)


def test_a_signature_is_the_one_of_the_published_vectors() -> None:
    vector = next(case for case in VECTORS["hmac"]["cases"] if case["id"] == "valid_compact_body")
    settings = read_settings(
        SepaySettings, {"SEPAY_WEBHOOK_AUTH": "hmac", "SEPAY_WEBHOOK_SECRET": VECTORS["hmac"]["secret"]}
    )

    headers = signed_headers(vector["raw_body"].encode(), settings, datetime.fromtimestamp(vector["now"], UTC))

    assert {name: headers[name] for name in vector["headers"]} == vector["headers"]


def test_without_a_secret_nothing_is_sent() -> None:
    with pytest.raises(UsageError, match="SEPAY_WEBHOOK_API_KEY is not set"):
        signed_headers(b"{}", SepaySettings(), NOW)


async def test_a_delivery_reports_what_the_hub_answered() -> None:
    seen: list[tuple[bytes, str]] = []

    async def hook(request: web.Request) -> web.Response:
        seen.append((await request.read(), request.headers["Authorization"]))
        return web.json_response({"success": True})

    app = web.Application()
    app.router.add_post("/webhooks/sepay", hook)
    settings = read_settings(SepaySettings, {"SEPAY_WEBHOOK_API_KEY": "the-key,the-old-key"})
    async with TestServer(app) as server:
        answer = await deliver(str(server.make_url("/webhooks/sepay")), b"{}", signed_headers(b"{}", settings, NOW))

    assert seen == [(b"{}", "Apikey the-key")]
    assert (answer.status, answer.is_success) == (200, True)


async def test_a_hub_that_does_not_run_is_said_plainly() -> None:
    with pytest.raises(UsageError, match="is the hub running"):
        await deliver("http://127.0.0.1:9/webhooks/sepay", b"{}", {})


@pytest.mark.parametrize(
    "answer",
    [Answer(200, '{"status": "success"}'), Answer(202, '{"success": true}'), Answer(200, ""), Answer(200, "[]")],
)
def test_only_what_the_provider_counts_is_a_success(answer: Answer) -> None:
    assert not answer.is_success
