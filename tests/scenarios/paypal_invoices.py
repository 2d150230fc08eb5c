"""Buyers who pay by PayPal, a hub that makes their invoices, and the PayPal that has both."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal.sandbox import sandbox_api
from handlers.paypal.sandbox_api import SandboxApi
from handlers.paypal.sandbox_invoicing import InvoicingApi
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables_invoices import PaypalInvoice
from hub.clock import SystemClock
from hub.environment import Environment
from hub.settings import read_settings
from tests.scenarios.paypal import WEBHOOK, WEBHOOK_ID, Paypal, playing
from tests.support.running import API_KEY, PROJECT, environment, until

PLAN: Final = "P-SANDBOX00000000000000001"
PAID_MINOR: Final = 999
_USUAL: Final = "attempts: 20, first: 2s, longest: 30m"
PATIENCE: Final = f"retry: {{ {_USUAL} }}\n    # A step that waits"
"""How the invoices' route is patient, and nobody else's."""
PROVIDERS: Final = "  # Certificates and proofs:"
QUEUE: Final = "paypal.invoices"
CREDENTIALS: Final = {"HUB_PAYPAL_CLIENT_ID": "test-client", "HUB_PAYPAL_SECRET": "test-secret"}


@dataclass
class Sales:
    """A running hub, and what the played PayPal knows of its sales and invoices."""

    paypal: Paypal
    sandbox: SandboxApi
    environ: Mapping[str, str]
    """What the hub was started with, for another one."""

    def sale(self, custom_id: str = "user-42", **options: Any) -> dict[str, Any]:
        """A buyer subscribes and pays; answers with the event, which is not told yet."""
        asked = {
            "plan_id": PLAN,
            "custom_id": custom_id,
            "subscriber": {
                "name": {"given_name": "Ann", "surname": "Example"},
                "email_address": f"{custom_id}@example.com",
            },
        }
        with self.sandbox.keeper.opened() as book:
            subscription = deeds.subscribe(book, asked, datetime.now(UTC))
            return deeds.pay(book, subscription["id"], datetime.now(UTC), **options)

    def again(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The same sale under another event id, as PayPal tells it at times."""
        with self.sandbox.keeper.opened() as book:
            return deeds.tell_sale(book, book.sales[event["resource"]["id"]], datetime.now(UTC))

    def refund(self, event: Mapping[str, Any], value: str | None = None) -> dict[str, Any]:
        """Money goes back; answers with the event."""
        with self.sandbox.keeper.opened() as book:
            return deeds.refund(book, event["resource"]["id"], datetime.now(UTC), value=value)

    async def tell(self, *events: Mapping[str, Any]) -> None:
        for event in events:
            assert await self.paypal.deliver(json.dumps(event).encode()) == 200

    def misbehave(self, place: str, kind: str, times: int = 1) -> None:
        with self.sandbox.keeper.opened() as book:
            book.faults.append({"place": place, "kind": kind, "times": times})

    def behave(self) -> None:
        """PayPal does from now on what it should."""
        with self.sandbox.keeper.opened() as book:
            book.faults.clear()

    def at_paypal(self) -> list[dict[str, Any]]:
        """Every invoice that PayPal has."""
        with self.sandbox.keeper.opened() as book:
            return copy.deepcopy(list(book.invoices.values()))

    async def rows(self) -> list[PaypalInvoice]:
        return sorted(await self.paypal.entities(PaypalInvoice), key=lambda row: row.payment_id)

    async def come_to(self, *states: str) -> list[PaypalInvoice]:
        """The invoices, once they are in these states, and nothing is left to do."""

        async def have() -> bool:
            return sorted(row.state for row in await self.rows()) == sorted(states)

        await until(have)
        await self.paypal.settled()
        return await self.rows()

    async def stand_still(self) -> PaypalInvoice:
        """The one invoice, once it waits for a person."""

        async def does() -> bool:
            return any(row.issue for row in await self.rows())

        await until(does)
        (row,) = await self.rows()
        return row

    async def view(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The subscription as the shop sees it."""
        running = self.paypal.running
        url = f"{running.url}/api/paypal/subscriptions/{event['resource']['billing_agreement_id']}"
        async with running.http.get(url, headers={"Authorization": f"Bearer {API_KEY}"}) as response:
            found: dict[str, Any] = await response.json()
            return found

    async def told(self) -> list[tuple[str, str]]:
        """What others hear of invoices: payment and what became of it."""
        rows = await self.paypal.running.queue(QUEUE)
        return [(json.loads(row.payload)["payment_id"], row.routing_key) for row in rows]


def rules(home: Path, *, attempts: int = 20) -> Path:
    """The project's rules, but for a route of invoices that soon tries again."""
    text = (PROJECT / "routing.yaml").read_text()
    assert (text.count(PATIENCE), text.count(PROVIDERS)) == (1, 1)
    quick = PATIENCE.replace(_USUAL, f"attempts: {attempts}, first: 100ms, longest: 1s")
    # So much goes wrong here that the hub would leave PayPal alone for a while.
    calm = f"  paypal: {{ circuit: null }}\n{PROVIDERS}"
    file = home / "routing.yaml"
    file.write_text(text.replace(PATIENCE, quick).replace(PROVIDERS, calm))
    return file


@asynccontextmanager
async def invoicing(home: Path, database_url: str, *, attempts: int = 20, **more: str) -> AsyncIterator[Sales]:
    """A hub with invoices on, and PayPal beside it."""
    names = {"HUB_SANDBOX": "1", "HUB_HOME": str(home), "HUB_PAYPAL_WEBHOOK_ID": WEBHOOK_ID, **CREDENTIALS}
    sandbox = sandbox_api(read_settings(PaypalSettings, Environment(names)), SystemClock())
    app = web.Application()
    app.add_routes([*sandbox.routes(), *InvoicingApi(sandbox).routes()])
    async with TestServer(app) as server:
        sandbox.base = str(server.make_url("")).rstrip("/")
        own = {"HUB_PAYPAL_BASE_URL": sandbox.base, "HUB_PAYPAL_INVOICE_ENABLED": "1", **CREDENTIALS}
        own["HUB_ROUTING"] = str(rules(home, attempts=attempts))
        async with playing(home, database_url, None, **{**own, **more}) as paypal:
            sandbox.postman.url = paypal.running.url + WEBHOOK
            same = environment(home, database_url, HUB_PAYPAL_WEBHOOK_ID=WEBHOOK_ID, **{**own, **more})
            yield Sales(paypal, sandbox, same)
            await sandbox.sent()
