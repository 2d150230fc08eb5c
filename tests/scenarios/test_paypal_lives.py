"""A subscription's whole life, told in any order: the same books, the same state, and one paid invoice."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal.sandbox_book import Book
from handlers.paypal.tables import PaypalPayment, PaypalSubscription
from hub.ledger.read import list_accounts
from tests.scenarios.paypal_invoices import PAID_MINOR, PLAN, Sales, invoicing
from tests.support.running import until

LIVES, TELLINGS = (25, 20) if os.environ.get("HUB_TEST_LONG", "0") != "0" else (6, 1)
"""So many lives at once, so often: PayPal's played book is one file, and grows dear with what it holds."""
AT_ONCE = 20
BACK_MINOR = 400
STILL_S_MAX = 120.0


@pytest.mark.timeout(900)
@pytest.mark.parametrize("telling", range(TELLINGS))
async def test_a_life_told_in_any_order_ends_with_the_same_books_state_and_invoice(
    database_url: str, tmp_path: Path, telling: int
) -> None:
    chance = Random(20260301 + telling)
    async with invoicing(tmp_path, database_url, HUB_PAYPAL_INVOICE_REFUND="1") as sales:
        told = [event for number in range(LIVES) for event in shuffled(life(sales, f"user-{number}"), chance)]
        # Neighbours are told at once, and lives overlap.
        await tell_all(sales, told)
        await until(lambda: have_ended(sales), deadline_s=STILL_S_MAX, pause_s=LIVES / 400, moves=lambda: paid(sales))
        await sales.paypal.settled()

        invoices = await sales.rows()
        assert {(one.state, one.amount_minor, one.refunded_minor, one.issue) for one in invoices} == {
            ("paid", PAID_MINOR, BACK_MINOR, None)
        }
        at_paypal = sales.at_paypal()
        found = {(one["mails"], len(one["payments"]["transactions"]), back_of(one)) for one in at_paypal}
        assert found == {(1, 1, f"{BACK_MINOR / 100:.2f}")}
        subscriptions = await sales.paypal.entities(PaypalSubscription)
        assert {row.status for row in subscriptions} == {"CANCELLED"}
        payments = await sales.paypal.entities(PaypalPayment)
        assert {(one.state, one.amount_minor, one.refunded_minor) for one in payments} == {
            ("partially_refunded", PAID_MINOR, BACK_MINOR)
        }
        assert {len(invoices), len(at_paypal), len(subscriptions), len(payments)} == {LIVES}
        assert (await balances(sales))["paypal:revenue:USD"] == LIVES * (PAID_MINOR - BACK_MINOR)


def life(sales: Sales, owner: str) -> list[Mapping[str, Any]]:
    """Created, activated, paid (told twice), partly given back, cancelled: a second between two of them."""
    now = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    asked = {"plan_id": PLAN, "custom_id": owner, "subscriber": {"email_address": f"{owner}@example.com"}}

    def at(second: int) -> datetime:
        return now + timedelta(seconds=second)

    with sales.sandbox.keeper.opened() as book:
        subscription = deeds.subscribe(book, asked, at(0))
        id_ = subscription["id"]
        created = deeds.tell_subscription(book, subscription, "BILLING.SUBSCRIPTION.CREATED", at(0))
        activated = deeds.change_status(book, id_, "ACTIVE", at(1))
        sale = deeds.pay(book, id_, at(2))
        again = deeds.tell_sale(book, sale_of(book, sale), at(3))
        back = deeds.refund(book, sale["resource"]["id"], at(4), value=f"{BACK_MINOR / 100:.2f}")
        cancelled = deeds.change_status(book, id_, "CANCELLED", at(5))
    return [created, activated, sale, again, back, cancelled]


def sale_of(book: Book, event: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = book.sales[event["resource"]["id"]]
    return found


def shuffled(events: list[Mapping[str, Any]], chance: Random) -> list[Mapping[str, Any]]:
    return chance.sample(events, len(events))


def back_of(invoice: Mapping[str, Any]) -> str:
    value: str = invoice["refunds"]["refund_amount"]["value"]
    return value


async def tell_all(sales: Sales, events: list[Mapping[str, Any]]) -> None:
    """Some at a time; what is beyond a minute's allowance of unproven senders comes again, as PayPal does it."""
    left = list(events)
    while left:
        some, left = left[:AT_ONCE], left[AT_ONCE:]
        statuses = await asyncio.gather(*(sales.paypal.deliver(json.dumps(event).encode()) for event in some))
        assert set(statuses) <= {200, 503}
        again = [event for event, status in zip(some, statuses, strict=True) if status == 503]
        left = [*again, *left]
        if again:
            await asyncio.sleep(1)


async def have_ended(sales: Sales) -> bool:
    """Each invoice is paid, and what went back of it is on it: this may come in either order."""
    rows = await sales.rows()
    return len([row for row in rows if row.state == "paid" and row.refunded_minor]) == LIVES


async def paid(sales: Sales) -> int:
    return sum(row.state == "paid" for row in await sales.rows())


async def balances(sales: Sales) -> dict[str, int]:
    async with sales.paypal.running.hub.store.reading() as conn:
        return {one.account.code: one.balance.amount_minor for one in await list_accounts(conn)}
