"""PayPal beside a hub that is crashed: a buyer wishes a subscription, agrees to it, and PayPal tells.

The played PayPal survives the hub, and loses the answer to one wish. Source: docs/providers/paypal.md.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal.authority import Authority
from handlers.paypal.sandbox import sandbox_api
from handlers.paypal.settings import PaypalSettings
from hub.clock import SystemClock
from hub.environment import Environment
from hub.settings import read_settings
from tests.faults.books import Books
from tests.faults.flows.ending import Ending, judge_ending
from tests.faults.invoices import CREDENTIALS, WEBHOOK, WEBHOOK_ID, SilentPaypal, _signer, rules_without_readers
from tests.faults.line import Line
from tests.faults.scenarios import Quiet, Scenario, World
from tests.support.running import API_KEY

PLAN: Final = "P-SANDBOX00000000000000001"
WISH: Final = {
    "plan_id": PLAN,
    "custom_id": "user-0042",
    "give_name": "Ann",
    "surname": "Example",
    "email_address": "ann@example.com",
}
BEARER: Final = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}


@asynccontextmanager
async def paypal_beside(environ: Mapping[str, str]) -> AsyncIterator[World]:
    """A played PayPal that nobody has subscribed at yet."""
    folder = Path(environ["HUB_HOME"]) / "sandbox/paypal"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "signer.pem").exists():
        (folder / "signer.pem").write_bytes(_signer())
    made = sandbox_api(read_settings(PaypalSettings, Environment({**environ, **CREDENTIALS})), SystemClock())
    api = SilentPaypal(made.keeper, made.postman, made.clock, made.client_id, made.secret)
    app = web.Application()
    app.add_routes(api.routes())

    async def play(line: Line, quiet: Quiet) -> None:
        listed = (await line.call("GET", "/plans/list", b"", BEARER)).json()
        assert PLAN in [plan["id"] for plan in listed["plans"]]
        with api.keeper.opened() as book:
            book.faults.append({"place": "subscribe", "kind": "cut_after", "times": 1})
        headers = {**BEARER, "Idempotency-Key": "order-1"}
        wish = json.dumps(WISH).encode()
        answer = (await line.call("POST", "/api/paypal/subscriptions", wish, headers)).json()
        assert answer["subscription_id"] in _subscriptions(api)
        with api.keeper.opened() as book:
            told = [
                deeds.change_status(book, answer["subscription_id"], "ACTIVE", datetime.now(UTC)),
                deeds.pay(book, answer["subscription_id"], datetime.now(UTC)),
            ]
        authority = Authority.of(folder)
        for event in told:
            body = json.dumps(event, indent=1).encode()
            signed = authority.signed_headers(body, WEBHOOK_ID, transmission_id=event["id"], now=datetime.now(UTC))
            await line.deliver("paypal", WEBHOOK, body, {**signed, "Content-Type": "application/json"}, [body])

    async def ends(books: Books) -> list[str]:
        return await judge_ending(books, SUBSCRIBED)

    async with TestServer(app) as server:
        more = {
            **CREDENTIALS,
            "HUB_PAYPAL_BASE_URL": str(server.make_url("")).rstrip("/"),
            "HUB_PAYPAL_INVOICE_ENABLED": "0",
            "HUB_ROUTING": str(rules_without_readers()),
        }
        yield World(more, play, lambda: judged(_subscriptions(api)), ends=ends)


def judged(subscriptions: Sequence[str]) -> Sequence[str]:
    """What must not be at PayPal in the end: anything but one subscription for one wish."""
    return [] if len(subscriptions) == 1 else [f"PayPal has one subscription for the wish: {subscriptions}"]


def _subscriptions(api: Any) -> list[str]:
    with api.keeper.opened() as book:
        return list(book.subscriptions)


SUBSCRIBED: Final = Ending(
    messages={
        "paypal.webhook.verified": {"paypal.webhook.verified": 2},
        "paypal.records": {"paypal.event.recorded": 2},
        "paypal.subscription.answers": {"paypal.subscription.answered": 1},
        "loyalty.platform": {"loyalty.subscription.paid": 1},
    },
    entries={"paypal:sale:%": 1},
    balances={"paypal:revenue:%": 999},
    rows={"SELECT custom_id, status FROM paypal_subscriptions": [("user-0042", "ACTIVE")]},
)
SUBSCRIBE: Final = Scenario(name="subscribe", expected=None, world=paypal_beside)
