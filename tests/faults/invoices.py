"""A payment becomes an invoice while the hub is crashed: how it must end in the hub's books and at PayPal.

The played PayPal stands beside the hub and survives it. It refuses no number that is taken, as nobody has promised that
PayPal does: that there is one invoice is the hub's own doing.
"""

from __future__ import annotations

import atexit
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal.authority import Authority
from handlers.paypal.sandbox import sandbox_api
from handlers.paypal.sandbox_api import SandboxApi
from handlers.paypal.sandbox_invoicing import InvoicingApi
from handlers.paypal.settings import PaypalSettings
from hub.clock import SystemClock
from hub.environment import Environment
from hub.settings import read_settings
from tests.faults.judge import Expected, Wanted
from tests.faults.line import Line
from tests.faults.scenarios import Quiet, Scenario, World
from tests.support.running import PROJECT

WEBHOOK: Final = "/webhooks/paypal"
WEBHOOK_ID: Final = "1TESTWEBHOOKID0001"
PLAN: Final = "P-SANDBOX00000000000000001"
BUYER: Final = "user-42"
PAID_MINOR, FEE_MINOR = 999, 74
SALE, FIRST, AGAIN = (
    "SALE0000000000002",
    "WH-SANDBOX0000000003-SANDBOX0000000003",
    "WH-SANDBOX0000000004-SANDBOX0000000004",
)
CREDENTIALS: Final = {
    "HUB_PAYPAL_WEBHOOK_ID": WEBHOOK_ID, "HUB_PAYPAL_CLIENT_ID": "test-client", "HUB_PAYPAL_SECRET": "test-secret",
}  # fmt: skip


class SilentPaypal(SandboxApi):
    """Tells nothing by webhook: the sender of the scenario does."""

    def send(self, body: Mapping[str, Any]) -> None:
        return


@asynccontextmanager
async def paypal_beside(environ: Mapping[str, str]) -> AsyncIterator[World]:
    """A played PayPal with one sale, which it announces twice."""
    folder = Path(environ["HUB_HOME"]) / "sandbox/paypal"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "signer.pem").exists():
        (folder / "signer.pem").write_bytes(_signer())
    made = sandbox_api(read_settings(PaypalSettings, Environment({**environ, **CREDENTIALS})), SystemClock())
    api = SilentPaypal(made.keeper, made.postman, made.clock, made.client_id, made.secret)
    told = _sold(api)
    app = web.Application()
    app.add_routes([*api.routes(), *InvoicingApi(api).routes()])

    async def play(line: Line, quiet: Quiet) -> None:
        authority = Authority.of(folder)
        for event in told:
            body = json.dumps(event, indent=1).encode()
            signed = authority.signed_headers(body, WEBHOOK_ID, transmission_id=event["id"], now=datetime.now(UTC))
            await line.deliver("paypal", WEBHOOK, body, {**signed, "Content-Type": "application/json"}, [body])

    async with TestServer(app) as server:
        more = {
            **CREDENTIALS,
            "HUB_PAYPAL_BASE_URL": str(server.make_url("")).rstrip("/"),
            "HUB_ROUTING": str(rules_without_readers()),
        }
        yield World(more, play, lambda: judged(_invoices(api)))


def _sold(api: SandboxApi) -> Sequence[dict[str, Any]]:
    asked = {
        "plan_id": PLAN,
        "custom_id": BUYER,
        "subscriber": {"name": {"given_name": "Ann"}, "email_address": "ann@example.com"},
    }
    now = datetime.now(UTC)
    with api.keeper.opened() as book:
        book.has_loose_numbers = True
        subscription = deeds.subscribe(book, asked, now)
        first = deeds.pay(book, subscription["id"], now)
        again = deeds.tell_sale(book, book.sales[SALE], now)
    assert (first["id"], again["id"]) == (FIRST, AGAIN)
    return [first, again]


def judged(rows: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    """What must not be at PayPal in the end: anything but one invoice, mailed once, with one payment that covers it."""
    found = [
        (
            row["detail"]["invoice_number"],
            row["status"],
            row["mails"],
            [one["amount"]["value"] for one in row.get("payments", {}).get("transactions", [])],
        )
        for row in rows
    ]
    expected = [(f"S-{SALE}", "MARKED_AS_PAID", 1, ["9.99"])]
    return [] if found == expected else [f"PayPal has one invoice, and it is paid: {found}"]


def _invoices(api: SandboxApi) -> Sequence[Mapping[str, Any]]:
    with api.keeper.opened() as book:
        return list(book.invoices.values())


@cache
def _signer() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Authority.of(Path(folder))
        return (Path(folder) / "signer.pem").read_bytes()


@cache
def rules_without_readers() -> Path:
    """The project's rules, but the record is left in a queue: what its readers make of it is no part of this."""
    text = (PROJECT / "routing.yaml").read_text()
    text, sources = re.subn(r"  paypal-record-\w+:\n(?:    .*\n)+", "", text)
    text, routes = re.subn(r"  - name: \S+\n(?:    .*\n)*?    source: paypal-record-\w+\n(?:    .*\n)+", "", text)
    text, records = re.subn(r"paypal-records: \{.*\}", "paypal-records: { queue: paypal.records }", text)
    assert (sources, routes, records) == (3, 3, 1), (sources, routes, records)
    # As long as this process: the hubs of all its trials read them, those in processes of their own, too.
    folder = tempfile.mkdtemp(prefix="hub_faults_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    file = Path(folder) / "routing.yaml"
    file.write_text(text)
    return file


INVOICE: Final = Scenario(
    name="invoice",
    world=paypal_beside,
    expected=Expected(
        queues={
            # Two proofs run side by side: either may be first.
            "paypal.webhook.verified": [
                [Wanted("paypal.webhook.verified", members={"event_id": one})] for one in (FIRST, AGAIN)
            ],
            "paypal.records": [
                [Wanted("paypal.event.recorded", members={"event_id": one, "verdict": "valid"})]
                for one in (FIRST, AGAIN)
            ],
            "loyalty.platform": [
                [Wanted("loyalty.subscription.paid", members={"member_id": BUYER, "amount_minor": PAID_MINOR})]
            ],
            "paypal.invoices": [[Wanted("paypal.invoice.paid", members={"payment_id": SALE, "state": "paid"})]],
        },
        entries=[f"paypal:sale:{SALE}"],
        balances={
            "paypal:revenue:%": PAID_MINOR,
            "paypal:clearing:%": PAID_MINOR - FEE_MINOR,
            "paypal:fees:%": FEE_MINOR,
        },
    ),
)
