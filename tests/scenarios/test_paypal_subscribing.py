"""Plans and subscriptions through a running hub, against a PayPal that checks what the real one checks, and fails."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from handlers.paypal import subscribing
from handlers.paypal.sandbox import sandbox_api
from handlers.paypal.sandbox_api import SandboxApi
from handlers.paypal.sandbox_pages import ApprovalPage
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables import PaypalEventRecord, PaypalPayment, PaypalSubscription
from hub.clock import Clock, SystemClock
from hub.environment import Environment
from hub.errors import RetryableError
from hub.settings import read_settings
from hub.store import tables as t
from schemas.paypal import SubscriptionBody
from tests.scenarios.paypal import WEBHOOK, WEBHOOK_ID, Paypal, fixture, playing
from tests.support.clock import SettableClock
from tests.support.running import API_KEY, until

API = "/api/paypal/subscriptions"
SALE_ID = "6GR1339578830245H"
PLAN = "P-SANDBOX00000000000000001"
WISH = {
    "plan_id": PLAN,
    "custom_id": "user-0042",
    "give_name": "Ann",
    "surname": "Example",
    "email_address": "ann@example.com",
}
CREDENTIALS = {"HUB_PAYPAL_CLIENT_ID": "test-client", "HUB_PAYPAL_SECRET": "test-secret"}


@dataclass
class Shop:
    """A shop's backend in front of a hub, and the PayPal behind it."""

    paypal: Paypal
    sandbox: SandboxApi

    async def call(
        self, method: str, path: str, body: object = None, *, key: str = API_KEY, **headers: str
    ) -> tuple[int, Any]:
        sent = {**headers, **({"Authorization": f"Bearer {key}"} if key else {})}
        url = self.paypal.running.url + path
        async with self.paypal.running.http.request(method, url, json=body, headers=sent) as response:
            return response.status, await response.json()

    async def subscribe(
        self, path: str = "/api/paypal/subscriptions", key: str = "", **changes: Any
    ) -> tuple[int, Any]:
        headers = {"Idempotency-Key": key} if key else {}
        wish = {name: value for name, value in {**WISH, **changes}.items() if value is not None}
        return await self.call("POST", path, wish, **headers)

    def misbehave(self, place: str, kind: str, times: int = 1) -> None:
        with self.sandbox.keeper.opened() as book:
            book.faults.append({"place": place, "kind": kind, "times": times})

    @property
    def made(self) -> list[str]:
        """The subscriptions that PayPal has made."""
        with self.sandbox.keeper.opened() as book:
            return list(book.subscriptions)


@asynccontextmanager
async def shopping(home: Path, database_url: str, clock: Clock | None = None, /, **more: str) -> AsyncIterator[Shop]:
    names = {"HUB_SANDBOX": "1", "HUB_HOME": str(home), "HUB_PAYPAL_WEBHOOK_ID": WEBHOOK_ID, **CREDENTIALS}
    sandbox = sandbox_api(read_settings(PaypalSettings, Environment(names)), clock or SystemClock())
    app = web.Application()
    app.add_routes(sandbox.routes())
    app.add_routes(ApprovalPage(sandbox, "").routes())
    async with TestServer(app) as server:
        sandbox.base = str(server.make_url("")).rstrip("/")
        async with playing(
            home, database_url, clock, HUB_PAYPAL_BASE_URL=sandbox.base, **CREDENTIALS, **more
        ) as paypal:
            sandbox.postman.url = paypal.running.url + WEBHOOK
            yield Shop(paypal, sandbox)
            await sandbox.sent()


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with shopping(tmp_path, database_url) as shop:
        yield shop


async def test_plans_are_listed_whole_kept_and_read_anew_after_a_change(shop: Shop) -> None:
    with shop.sandbox.keeper.opened() as book:
        for number in range(10, 40):
            book.plans[f"P-{number}"] = {**book.plans[PLAN], "id": f"P-{number}"}
        book.plans["P-39"]["status"] = "INACTIVE"

    status, listed = await shop.call("GET", "/plans/list")
    assert (status, listed["total_items"], len(listed["plans"])) == (200, 32, 32)
    assert (await shop.call("GET", "/api/paypal/plans?status=all"))[1]["total_items"] == 33
    assert [(await shop.call("GET", "/plans/list", key=key))[0] for key in ("", "wrong")] == [401, 401]

    with shop.sandbox.keeper.opened() as book:
        book.plans["P-40"] = {**book.plans[PLAN], "id": "P-40"}
    assert (await shop.call("GET", "/plans/list"))[1]["total_items"] == 32
    changed = (Path(__file__).parents[1] / "data/paypal/billing.plan.created.json").read_bytes()
    await shop.paypal.deliver(changed)

    async def is_new() -> bool:
        return bool((await shop.call("GET", "/plans/list"))[1]["total_items"] == 33)

    await until(is_new)


async def test_a_wish_is_one_subscription_whose_owner_is_known_before_the_answer(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.subscribe() for _ in range(3)), shop.subscribe("/subscription/create"))

    (subscription_id,) = shop.made
    approval = answers[0][1]["approval_url"]
    assert answers == [(200, {"approval_url": approval, "subscription_id": subscription_id})] * 4
    assert "ba_token=BA-" in approval
    (row,) = await shop.paypal.entities(PaypalSubscription)
    assert (row.custom_id, row.plan_id, row.status) == ("user-0042", PLAN, "APPROVAL_PENDING")

    # Somebody else's wish, and one under a key of its own, are others.
    keyed = [await shop.subscribe(key="order-1"), await shop.subscribe(key="order-1")]
    other = await shop.subscribe(custom_id="user-0043")
    assert keyed[0] == keyed[1]
    assert len({subscription_id, keyed[0][1]["subscription_id"], other[1]["subscription_id"]}) == 3
    status, reused = await shop.subscribe(key="order-1", surname="Other")
    assert (status, reused["issue"]) == (422, "idempotency_key_reused")
    # Nobody has chosen a key here: a buyer who corrects his name and clicks again has no reason to hear of one.
    assert await shop.subscribe(surname="Exemplary") == answers[0]
    assert len(shop.made) == 3

    # The buyer agrees on PayPal's page; the webhooks say so.
    async with shop.paypal.running.http.get(approval) as page:
        assert "Agree and subscribe" in await page.text()
    async with shop.paypal.running.http.post(approval, data={"action": "approve"}) as page:
        assert page.status == 200

    async def is_active() -> bool:
        found = await shop.call("GET", f"/api/paypal/subscriptions/{subscription_id}")
        return bool(found[1]["status"] == "ACTIVE")

    await until(is_active)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"custom_id": "x" * 127}, None),
        ({"give_name": None, "given_name": "Ann"}, None),
        ({"given_name": "Ann"}, None),
        ({"unknown": 1}, None),
        ({"custom_id": "x" * 128}, "custom_id"),
        ({"custom_id": "客戶-1"}, "custom_id"),
        ({"custom_id": "a\nb"}, "custom_id"),
        ({"custom_id": "printable\x7f"}, "custom_id"),
        ({"custom_id": ""}, "custom_id"),
        ({"custom_id": None}, "custom_id"),
        ({"custom_id": 42}, "custom_id"),
        ({"plan_id": "P-"}, "plan_id"),
        ({"plan_id": "P" * 51}, "plan_id"),
        ({"plan_id": "P-1/../x"}, "plan_id"),
        ({"given_name": "Bob"}, "give_name"),
        ({"give_name": None}, "give_name"),
        ({"surname": "x" * 141}, "surname"),
        ({"email_address": "nobody"}, "email_address"),
        ({"email_address": "a@b@c"}, "email_address"),
        ({"email_address": "a" * 251 + "@b.c"}, "email_address"),
    ],
)
def test_a_wish_keeps_to_the_rules(changes: dict[str, Any], field: str | None) -> None:
    wish = {name: value for name, value in {**WISH, **changes}.items() if value is not None}

    assert wrong_field(wish) == field


def wrong_field(wish: dict[str, Any]) -> str | None:
    try:
        SubscriptionBody.model_validate(wish)
    except ValidationError as error:
        return ".".join(str(part) for part in error.errors()[0]["loc"]) or "give_name"
    return None


async def test_refusals_say_why(database_url: str, tmp_path: Path) -> None:
    async with shopping(tmp_path, database_url, HUB_PAYPAL_MERCHANT_COUNTRY="TW") as shop:
        with shop.sandbox.keeper.opened() as book:
            book.plans[PLAN]["status"] = "INACTIVE"

        bad = await shop.subscribe(custom_id="客戶-1")
        assert (bad[0], bad[1]["field"]) == (400, "custom_id")
        domestic = await shop.subscribe(payer_country="TW")
        assert (domestic[0], domestic[1]["issue"]) == (422, "domestic_not_supported")
        inactive = await shop.subscribe()
        assert (inactive[0], inactive[1]["issue"]) == (422, "PLAN_STATUS_INVALID")
        async with shop.paypal.running.http.post(
            shop.paypal.running.url + "/subscription/create",
            data=b"{",
            headers={"Authorization": f"Bearer {API_KEY}"},
        ) as response:
            assert response.status == 400
        assert shop.made == []
        await until(lambda: shop.paypal.messages("paypal.subscription.answers"))
        answers = await shop.paypal.messages("paypal.subscription.answers")
        assert [one["issue"] for one in answers] == ["PLAN_STATUS_INVALID"]


async def test_a_lost_answer_makes_no_second_subscription(shop: Shop) -> None:
    shop.misbehave("subscribe", "cut_after")

    status, answer = await shop.subscribe()

    assert status == 200, answer
    assert shop.made == [answer["subscription_id"]]
    (call,) = {(row.step, row.key) for row in await shop.paypal.running.rows(t.calls) if row.provider == "paypal"}
    assert call[0] == "create"


async def test_the_same_by_message(shop: Shop) -> None:
    request = {**WISH, "request_id": "order-7"}
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "paypal-commands",
        "type": "paypal.subscription.requested",
        "data": request,
    }
    for number in ("1", "2"):
        body = json.dumps({**event, "id": number}).encode()
        headers = {"Content-Type": "application/cloudevents+json", "Authorization": f"Bearer {API_KEY}"}
        status, _ = await shop.paypal.running.post("/events", body, **headers)
        assert status in (200, 202)

    await until(lambda: shop.paypal.messages("paypal.subscription.answers"))
    await shop.paypal.settled()

    (answer,) = await shop.paypal.messages("paypal.subscription.answers")
    assert (answer["request_id"], answer["state"], answer["custom_id"]) == ("order-7", "created", "user-0042")
    assert re.match(r"http://127\.0\.0\.1:\d+/approve\?", answer["approval_url"])
    assert shop.made == [answer["subscription_id"]]


async def test_a_request_ends_however_late_and_whatever_is_configured_meanwhile(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SettableClock(datetime(2026, 3, 1, 10, tzinfo=UTC))

    async def fail(*_: Any, **__: Any) -> None:
        raise RetryableError("the database is gone")

    async with shopping(tmp_path, database_url, clock) as shop:

        async def ask(request_id: str) -> None:
            event = {"specversion": "1.0", "id": request_id, "source": "paypal-commands", "data": {}}
            event |= {"type": "paypal.subscription.requested", "data": {**WISH, "request_id": request_id}}
            headers = {"Content-Type": "application/cloudevents+json", "Authorization": f"Bearer {API_KEY}"}
            await shop.paypal.running.post("/events", json.dumps(event).encode(), **headers)
            await shop.paypal.settled()

        async def answered() -> list[tuple[str, str]]:
            rows = await shop.paypal.messages("paypal.subscription.answers")
            return [(row["request_id"], row["state"]) for row in rows]

        # Asked for under another brand than the first time: it is the same subscription.
        shop.misbehave("subscribe", "cut_after")
        await ask("renamed")
        vars(shop.paypal.running.hub.api.settings_of("paypal"))["brand_name"] = "Another"
        clock.advance(60)
        await until(answered)
        assert (await answered(), len(shop.made)) == ([("renamed", "created")], 1)

        # PayPal has answered, and the end was lost: that is still written when PayPal may not be asked any more.
        with monkeypatch.context() as broken:
            broken.setattr(subscribing, "_finish", fail)
            await ask("settled")
        shop.misbehave("subscribe", "cut_after")
        await ask("undecided")
        clock.advance(72 * 3_600)

        async def is_over() -> bool:
            outcomes = await shop.paypal.outcomes("create-paypal-subscription")
            return outcomes == [("done", "created"), ("done", "created"), ("parked", None)]

        await until(is_over)
        assert len(shop.made) == 3
        reasons = [row.reason or "" for row in await shop.paypal.running.rows(t.deliveries) if row.state == "parked"]
        assert reasons == ["PayPal may have forgotten this request's id: look there before it is sent again"]


async def test_paypal_s_api_decides_where_certificates_cannot_and_the_simulator_moves_nothing(
    database_url: str, tmp_path: Path
) -> None:
    body = fixture()
    reserialised = json.dumps(json.loads(body)).encode()
    more = {"HUB_PAYPAL_VERIFY_MODE": "api", "HUB_PAYPAL_ACCEPT_SIMULATOR": "1"}
    async with shopping(tmp_path, database_url, **more) as shop:
        await shop.paypal.deliver(body)
        await shop.paypal.deliver(reserialised, shop.paypal.signed(body))
        await shop.paypal.deliver(body, shop.paypal.signed(body, webhook_id="9OTHERMERCHANT0001"))
        await shop.paypal.deliver(b'{"a":1},"webhook_id":"x"', shop.paypal.signed(b"x"))
        await shop.paypal.settled()
        assert sorted(await shop.paypal.proofs()) == ["invalid"] * 3 + ["valid"]

        # An API that fails decides nothing.
        shop.misbehave("verify-webhook", "500")
        await shop.paypal.deliver(fixture("payment.sale.denied.json"))
        await shop.paypal.settled()
        assert (await shop.paypal.outcomes("verify-paypal-webhook"))[-1] == ("deferred", None)

    async with shopping(tmp_path, database_url, **{**more, "HUB_PAYPAL_VERIFY_MODE": "offline"}) as shop:
        sale = fixture("payment.sale.completed.held.synthetic.json")
        await shop.paypal.deliver(sale, shop.paypal.signed(sale, webhook_id="WEBHOOK_ID"))
        await until(lambda: is_simulated(shop))

        booked = {one.payment_id for one in await shop.paypal.entities(PaypalPayment)}
        assert (SALE_ID in booked, json.loads(sale)["resource"]["id"] in booked) == (True, False)


async def is_simulated(shop: Shop) -> bool:
    found = await shop.paypal.entities(PaypalEventRecord)
    return [one.outcome for one in found if one.verdict == "simulated"] == ["simulated"]
