"""After an outage: what PayPal knows and the hub does not is found and fed in once; what is unclear is asked about."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal.asking import in_turns
from handlers.paypal.checks import checks
from handlers.paypal.reconcile_cli import feed
from handlers.paypal.reconciling import Reconciliation, Window
from handlers.paypal.reconciling import reconcile as compare_with_paypal
from handlers.paypal.sandbox_book import Book
from handlers.paypal.tables import PaypalPayment, PaypalSubscription
from hub.ledger.read import list_accounts
from hub.store import tables as t
from tests.scenarios.paypal import WEBHOOK_ID
from tests.scenarios.test_paypal_subscribing import CREDENTIALS, PLAN, Shop, shopping
from tests.support.running import PROJECT, environment, until

WISH = {"plan_id": PLAN, "custom_id": "user-7", "subscriber": {"email_address": "ann@example.com"}}


@dataclass
class Desk:
    """A shop whose PayPal tells nothing by itself, and who compares the two."""

    shop: Shop
    command_environment: dict[str, str]

    async def compared(self, days: int = 1) -> Reconciliation:
        api = self.shop.paypal.running.hub.api
        now = api.clock.now()
        window = Window(since=now - timedelta(days=days), until=now + timedelta(seconds=1))
        return await compare_with_paypal(api, in_turns(api, api.settings_of("paypal")), None, window)

    async def fed(self, days: int = 1) -> list[str]:
        """Compare and feed in what is missing; answers with the kinds of breaks."""
        found = await self.compared(days)
        await feed(self.shop.paypal.running.hub.api, found)
        await self.shop.paypal.settled()
        return sorted(one.kind for one in found.breaks)

    async def command(self, *arguments: str) -> tuple[int, Any]:
        """Run ``hub reconcile paypal`` beside the daemon."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hub", "reconcile", "paypal", "--json", *arguments),
            cwd=PROJECT,
            env={**os.environ, **self.command_environment},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, json.loads(output)

    async def payments(self) -> dict[str, tuple[str, int | None, int]]:
        rows = await self.shop.paypal.entities(PaypalPayment)
        return {one.payment_id: (one.state, one.fee_minor, one.refunded_minor) for one in rows}

    async def balances(self) -> dict[str, int]:
        async with self.shop.paypal.running.hub.store.reading() as conn:
            return {one.account.code: one.balance.amount_minor for one in await list_accounts(conn)}

    async def loyalty(self) -> list[tuple[str, str]]:
        return [(one["kind"], one["member_id"]) for one in await self.shop.paypal.messages("loyalty.platform")]


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with shopping(tmp_path, database_url) as shop:
        more = {"HUB_PAYPAL_WEBHOOK_ID": WEBHOOK_ID, "HUB_PAYPAL_BASE_URL": shop.sandbox.base, **CREDENTIALS}
        yield Desk(shop, environment(tmp_path, database_url, **more))


def bought(book: Book, now: Any, **wish: Any) -> tuple[str, list[dict[str, Any]]]:
    """A buyer subscribes and pays at PayPal; answers with the subscription and the events, which nobody has sent."""
    row = deeds.subscribe(book, {**WISH, **wish}, now)
    told = [
        deeds.tell_subscription(book, row, "BILLING.SUBSCRIPTION.CREATED", now),
        deeds.change_status(book, row["id"], "ACTIVE", now),
        deeds.pay(book, row["id"], now),
    ]
    return row["id"], told


async def test_what_no_webhook_brought_is_fed_in_once_and_a_webhook_that_comes_after_all_is_a_duplicate(
    desk: Desk,
) -> None:
    shop, now = desk.shop, desk.shop.sandbox.now
    with shop.sandbox.keeper.opened() as book:
        subscription_id, told = bought(book, now)
    sale_id = told[2]["resource"]["id"]

    assert [one.kind for one in (await desk.compared()).breaks] == ["event_missing"] * 3
    assert await shop.paypal.running.rows(t.inbox) == []

    code, (report,) = await desk.command()
    assert (code, report["agrees"], report["events"]) == (1, False, 3)
    assert [(one["kind"], one["fed"]) for one in report["breaks"]] == [("event_missing", True)] * 3

    async def is_booked() -> bool:
        return await desk.payments() == {sale_id: ("completed", 74, 0)}

    await until(is_booked, deadline_s=60)
    await shop.paypal.settled()
    (row,) = await shop.paypal.entities(PaypalSubscription)
    assert (row.status, row.custom_id) == ("ACTIVE", "user-7")
    code, (report,) = await desk.command()
    assert (code, report["breaks"], report["subscriptions"], report["payments"]) == (0, [], 1, 1)

    # The webhooks come after all, the last one late: each is known.
    await shop.sandbox.postman.deliver(told[2], "late")
    for body in told[:2]:
        await shop.sandbox.postman.deliver(body)
    await shop.paypal.settled()
    assert await shop.paypal.proofs() == ["duplicate"] * 3
    assert await desk.loyalty() == [("loyalty.subscription.paid", "user-7")]
    assert (await desk.balances())["paypal:revenue:USD"] == 999
    assert row.subscription_id == subscription_id


async def test_payments_and_states_that_no_event_told_are_taken_from_paypals_lists(desk: Desk) -> None:
    shop, now = desk.shop, desk.shop.sandbox.now
    with shop.sandbox.keeper.opened() as book:
        subscription_id, told = bought(book, now)
        told.append(deeds.pay(book, subscription_id, now, state="pending"))
    for body in told:
        await shop.sandbox.postman.deliver(body)
    await shop.paypal.settled()
    first, second = (body["resource"]["id"] for body in told[2:])
    assert (await desk.payments())[second] == ("pending", None, 0)

    # PayPal decides, lets the subscription rest, and has no event of either any more.
    with shop.sandbox.keeper.opened() as book:
        book.sales[second] |= {"state": "completed", "transaction_fee": {"value": "0.74", "currency": "USD"}}
        deeds.change_status(book, subscription_id, "SUSPENDED", now)
        deeds.refund(book, first, now, value="2.00")
        book.events.clear()
        # PayPal does not always say since when.
        for name in ("update_time", "status_update_time"):
            del book.subscriptions[subscription_id][name]

    assert await desk.fed() == ["another_status", "payment_missing", "refund_missing"]

    assert (await desk.payments())[second] == ("completed", 74, 0)
    (row,) = await shop.paypal.entities(PaypalSubscription)
    assert row.status == "SUSPENDED"
    assert (await desk.balances())["paypal:revenue:USD"] == 2 * 999
    assert await desk.fed() == ["refund_missing"]
    records = {one.payment_id: one.outcome for one in await shop.paypal.records(5)}
    assert records[second] == "payment_settled"
    assert [one.detail for one in await checks(shop.paypal.running.hub.api) if not one.ok] == []

    # What comes next is news, though our clock was ahead when PayPal was asked.
    with shop.sandbox.keeper.opened() as book:
        ended = deeds.change_status(book, subscription_id, "CANCELLED", now)
    await shop.sandbox.postman.deliver(ended)
    await shop.paypal.settled()
    (row,) = await shop.paypal.entities(PaypalSubscription)
    assert row.status == "CANCELLED"


async def test_a_payment_that_was_fed_in_days_late_is_at_paypal_until_it_is_not(desk: Desk) -> None:
    shop, now = desk.shop, desk.shop.sandbox.now
    with shop.sandbox.keeper.opened() as book:
        _, told = bought(book, now - timedelta(days=5))
    assert await desk.fed(days=7) == ["event_missing"] * 3
    assert len(await desk.payments()) == 1

    assert (await desk.compared()).breaks == []

    with shop.sandbox.keeper.opened() as book:
        del book.sales[told[2]["resource"]["id"]]
    assert [one.kind for one in (await desk.compared()).breaks] == ["not_at_paypal"]


async def test_an_owner_and_a_reversed_payment_that_no_event_names_are_asked_for(desk: Desk) -> None:
    shop, now = desk.shop, desk.shop.sandbox.now
    with shop.sandbox.keeper.opened() as book:
        _, told = bought(book, now)
        del told[2]["resource"]["custom"]
        sale_id = told[2]["resource"]["id"]
        _, others = bought(book, now, custom_id="user-8")
    shop.misbehave("subscription", "500")
    # Nobody has heard of the subscription, and the sale does not say whose it is.
    await shop.sandbox.postman.deliver(told[2])
    await shop.sandbox.postman.deliver(others[2])

    async def are_told() -> bool:
        return sorted(await desk.loyalty()) == [("loyalty.subscription.paid", f"user-{number}") for number in (7, 8)]

    await until(are_told, deadline_s=60)
    assert {one.custom_id for one in await shop.paypal.entities(PaypalPayment)} == {"user-7", "user-8"}

    with shop.sandbox.keeper.opened() as book:
        taken = deeds.reverse(book, sale_id, now)
    await shop.sandbox.postman.deliver(taken)

    async def is_taken() -> bool:
        return (await desk.payments())[sale_id] == ("reversed", 74, 999)

    await until(is_taken, deadline_s=60)
    await shop.paypal.settled()
    reviews = {(row.outcome, row.resolved_at is None) for row in await shop.paypal.running.rows(t.reviews)}
    assert reviews == {("reversal_unresolved", False), ("payment_reversed", True)}
    assert ("loyalty.subscription.refunded", "user-7") in await desk.loyalty()
