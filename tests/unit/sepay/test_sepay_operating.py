"""What operators see and do: wallets, their history, money in suspense, and the sandbox's bank."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.operating import (
    PaymentOrder,
    activate,
    list_unmatched,
    pay,
    show_history,
    show_wallet,
    suspend,
)
from handlers.sepay.sandbox_bank import SandboxBank
from handlers.sepay.settings import SepaySettings
from hub.errors import UsageError
from tests.unit.sepay.bench import USER, ask_for_topup, settle
from tests.unit.sepay.conftest import wallet_settings
from tests.unit.sepay.desk import Desk
from tests.unit.sepay.desk_api import DeskApi

if TYPE_CHECKING:
    from hub.api import HubApi


@pytest.fixture
def api(desk: Desk, tmp_path: Path) -> HubApi:
    return cast("HubApi", DeskApi(desk, tmp_path))


async def test_the_history_of_a_wallet_reads_newest_first(desk: Desk, api: HubApi) -> None:
    for id in (1, 2):
        await settle(desk, (await ask_for_topup(desk)).transfer_content, id=id)

    lines = await show_history(api, USER, 10)

    assert [(line.kind, line.reference, line.change_minor, line.after_minor) for line in lines] == [
        ("deposit", "sepay:transfer:2", 100_000, 200_000),
        ("deposit", "sepay:transfer:1", 100_000, 100_000),
    ]
    assert [line.before_minor for line in lines] == [100_000, 0]


async def test_suspending_and_activating_releases_what_was_held(desk: Desk, api: HubApi) -> None:
    reply = await ask_for_topup(desk)
    assert (await suspend(api, USER, by="ann", reason="check")).status == "suspended"
    await settle(desk, reply.transfer_content)
    (held,) = await list_unmatched(api, 10)
    assert (held.outcome, held.amount_minor, held.intent_id) == ("wallet_suspended", 100_000, reply.intent_id)

    wallet, released = await activate(api, USER, by="ann", reason="fine")

    assert (wallet.status, wallet.balance, released) == ("active", 100_000, 1)
    assert await list_unmatched(api, 10) == []


async def test_money_in_suspense_is_listed_oldest_first(desk: Desk, api: HubApi) -> None:
    await settle(desk, "ung ho", 5_000, id=9)
    desk.later(minutes=1)
    await settle(desk, "khong ro", 6_000, id=8)

    assert [(line.sepay_tx_id, line.amount_minor) for line in await list_unmatched(api, 10)] == [(9, 5_000), (8, 6_000)]


async def test_a_user_without_a_wallet_is_a_mistake_of_the_caller(api: HubApi) -> None:
    with pytest.raises(UsageError, match="user 7 has no wallet"):
        await show_wallet(api, "7")
    with pytest.raises(UsageError, match="user 7 has no wallet"):
        await suspend(api, "7", by="ann", reason="")


async def test_the_sandbox_pays_the_amount_of_the_intent(desk: Desk, api: HubApi) -> None:
    desk.settings = wallet_settings(webhook_api_key="the-key")
    reply = await ask_for_topup(desk)
    bodies: list[dict[str, object]] = []

    async def hook(request: web.Request) -> web.Response:
        bodies.append(json.loads(await request.read()))
        return web.json_response({"success": True})

    app = web.Application()
    app.router.add_post("/webhooks/sepay", hook)
    async with TestServer(app) as server:
        url = str(server.make_url("/webhooks/sepay"))
        order = PaymentOrder(order_code=reply.order_code, url=url, deliveries=2)
        payment, answers = await pay(api, order)
        late = PaymentOrder(order_code=reply.order_code, url=url, booked_at=desk.now + timedelta(days=1), is_out=True)
        await pay(api, late)

    assert [answer.is_success for answer in answers] == [True, True]
    assert bodies[0] == bodies[1]
    assert (bodies[0]["id"], bodies[0]["transferAmount"], bodies[0]["transferType"]) == (payment.id, 100_000, "in")
    assert (bodies[2]["transferType"], bodies[2]["transactionDate"]) == (
        "out",
        bank_time_text(desk.now + timedelta(days=1)),
    )


async def test_a_lost_webhook_stands_on_the_statement_alone(desk: Desk, api: HubApi) -> None:
    reply = await ask_for_topup(desk)

    payment, answers = await pay(api, PaymentOrder(order_code=reply.order_code, is_lost=True, url="http://127.0.0.1:1"))

    assert answers == []
    (booked,) = SandboxBank.of_home(api.settings.home).transfers()
    assert (booked["id"], booked["transferAmount"]) == (payment.id, 100_000)


async def test_the_sandbox_repeats_a_webhook_that_failed(desk: Desk, api: HubApi) -> None:
    desk.settings = wallet_settings(webhook_api_key="the-key")
    reply = await ask_for_topup(desk)
    statuses = iter([500, 401, 200])

    async def hook(request: web.Request) -> web.Response:
        return web.json_response({"success": True}, status=next(statuses))

    app = web.Application()
    app.router.add_post("/webhooks/sepay", hook)
    async with TestServer(app) as server:
        url = str(server.make_url("/webhooks/sepay"))
        order = PaymentOrder(order_code=reply.order_code, url=url, retries=True, speed=100_000)
        _, answers = await pay(api, order)

    assert [answer.status for answer in answers] == [500, 401, 200]


async def test_the_sandbox_says_what_is_missing(desk: Desk, api: HubApi) -> None:
    with pytest.raises(UsageError, match="no payment intent has the order code TOPUP1"):
        await pay(api, PaymentOrder(order_code="topup_1"))

    desk.settings = SepaySettings()
    with pytest.raises(UsageError, match="no receiving account"):
        await pay(api, PaymentOrder(order_code="x"))
