"""What payments, refunds and news of subscriptions come to, in any order, with repeats, held and pending."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handlers.paypal.tables import PaypalPayment, PaypalSubscription
from hub.errors import RefusedCommand
from hub.ledger.read import list_accounts
from hub.store import tables as t
from schemas.paypal import PaymentRelease, RefundOrder
from tests.scenarios.paypal import Paypal, fixture, playing
from tests.support.clock import SettableClock
from tests.support.running import API_KEY, until

ORDERS = 500 if os.environ.get("HUB_TEST_LONG", "0") != "0" else 8
DEADLINE_S, PAUSE_S = 180.0, ORDERS / 400
AT_ONCE = 20
ROUTE = "process-paypal-webhook"


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(datetime(2026, 3, 1, 10, tzinfo=UTC))


@pytest.fixture
async def paypal(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[Paypal]:
    async with playing(tmp_path, database_url, clock) as paypal:
        yield paypal


def news(number: int, event_type: str, second: int, **resource: Any) -> dict[str, Any]:
    """An event of subscription ``number``, at this second of its life."""
    time = f"2026-02-01T00:00:{second:02d}Z"
    return {
        "id": f"WH-{number}-{event_type}-{second}",
        "event_type": event_type,
        "resource": {"create_time": time, "update_time": time, **resource},
    }


def life(number: int) -> list[dict[str, Any]]:
    """A subscription from its beginning to its end; its sale is announced twice, and part of it goes back."""
    own = {"id": f"I-{number}", "custom_id": f"user-{number}", "plan_id": "P-1"}
    sale = {
        "id": f"SALE{number}",
        "state": "completed",
        "amount": {"total": "20.00", "currency": "USD"},
        "transaction_fee": {"value": "1.18", "currency": "USD"},
        "billing_agreement_id": f"I-{number}",
        # Every other one leaves its owner to the subscription.
        **({"custom": f"user-{number}"} if number % 2 else {}),
    }
    back = {
        "id": f"REFUND{number}",
        "sale_id": f"SALE{number}",
        "amount": {"total": "5.00", "currency": "USD"},
        "refund_from_transaction_fee": {"value": "0.30", "currency": "USD"},
    }
    return [
        news(number, "BILLING.SUBSCRIPTION.CREATED", 1, status="APPROVAL_PENDING", **own),
        news(number, "BILLING.SUBSCRIPTION.ACTIVATED", 2, status="ACTIVE", **own),
        news(number, "PAYMENT.SALE.COMPLETED", 3, **sale),
        news(number, "PAYMENT.SALE.COMPLETED", 4, **sale),
        news(number, "PAYMENT.SALE.REFUNDED", 5, **back),
        news(number, "BILLING.SUBSCRIPTION.CANCELLED", 6, status="CANCELLED", **own),
    ]


async def balances(paypal: Paypal) -> dict[str, int]:
    async with paypal.running.hub.store.reading() as conn:
        return {one.account.code: one.balance.amount_minor for one in await list_accounts(conn)}


async def send(paypal: Paypal, bodies: Sequence[Mapping[str, Any]]) -> None:
    for body in bodies:
        assert await paypal.deliver(json.dumps(body).encode()) == 200


async def pour(paypal: Paypal, bodies: Sequence[Mapping[str, Any]], clock: SettableClock) -> None:
    """Deliver all, some at a time; what is beyond a minute's allowance of unproven senders comes again in the next."""
    left = list(bodies)
    while left:
        some, left = left[:AT_ONCE], left[AT_ONCE:]
        statuses = await asyncio.gather(*(paypal.deliver(json.dumps(body).encode()) for body in some))
        assert set(statuses) <= {200, 503}
        again = [body for body, status in zip(some, statuses, strict=True) if status == 503]
        if again:
            clock.advance(60)
            left = [*again, *left]


async def processed(paypal: Paypal, clock: SettableClock, count: int) -> list[str | None]:
    """How the events ended, once so many have; what waits for another is let look again."""

    async def are_done() -> bool:
        states = [state for state, _ in await paypal.outcomes(ROUTE)]
        if len(states) >= count:
            await paypal.step(clock)
        return states.count("done") >= count

    # The more there is to look through, the less often.
    await until(are_done, deadline_s=DEADLINE_S, pause_s=PAUSE_S, moves=paypal.running.progress)
    return [outcome for _, outcome in await paypal.outcomes(ROUTE)]


async def test_any_order_of_a_life_ends_the_same(paypal: Paypal, clock: SettableClock) -> None:
    chance = random.Random(20260301)
    told = []
    for number in range(ORDERS):
        events = life(number)
        chance.shuffle(events)
        told += events

    await pour(paypal, told, clock)
    await processed(paypal, clock, len(told))

    rows = await paypal.entities(PaypalSubscription)
    assert {(row.status, row.custom_id == f"user-{row.subscription_id[2:]}") for row in rows} == {("CANCELLED", True)}
    payments = await paypal.entities(PaypalPayment)
    assert {(one.state, one.amount_minor, one.fee_minor, one.refunded_minor) for one in payments} == {
        ("partially_refunded", 2000, 118, 500)
    }
    assert (len(rows), len(payments)) == (ORDERS, ORDERS)
    assert await balances(paypal) == {
        "paypal:clearing:USD": ORDERS * (2000 - 118 - 470),
        "paypal:fees:USD": ORDERS * (118 - 30),
        "paypal:revenue:USD": ORDERS * 1500,
    }

    async def are_told() -> bool:
        await paypal.step(clock)
        return len(await paypal.messages("loyalty.platform")) >= 2 * ORDERS

    await until(are_told, deadline_s=DEADLINE_S, pause_s=PAUSE_S, moves=paypal.running.progress)
    told_of: dict[str, list[str]] = {}
    for one in await paypal.messages("loyalty.platform"):
        told_of.setdefault(one["member_id"], []).append(one["kind"])
    paid_and_refunded = ["loyalty.subscription.paid", "loyalty.subscription.refunded"]
    assert told_of == {f"user-{number}": paid_and_refunded for number in range(ORDERS)}


async def test_every_published_body_ends_as_it_should(paypal: Paypal, clock: SettableClock) -> None:
    expected = {
        "billing.plan.created": "plans_changed",
        "billing.plan.pricing-change.activated.synthetic": "plans_changed",
        "billing.subscription.activated": "status_changed",
        "billing.subscription.cancelled.custom-id": "status_changed",
        "billing.subscription.created": "status_changed",
        "billing.subscription.expired.synthetic": "status_changed",
        "billing.subscription.payment.failed": "payment_failed",
        "billing.subscription.suspended.v1": "status_changed",
        "billing.subscription.updated": "status_changed",
        "catalog.product.created.synthetic": "recorded",
        "invoicing.invoice.paid": "recorded",
        "payment.sale.completed.held.synthetic": "payment_held",
        "payment.sale.completed.one-off": "one_off_sale",
        "payment.sale.completed.subscription": "payment_settled",
        "payment.sale.denied": "payment_denied",
        "payment.sale.pending": "payment_pending",
        "payment.sale.refunded": "refund_not_ours",
    }
    later = ("billing.subscription.expired.synthetic", "billing.subscription.payment.failed", "payment.sale.refunded")
    first = [name for name in expected if name not in later]
    for name in first:
        assert await paypal.deliver(fixture(f"{name}.json")) == 200
    await processed(paypal, clock, len(first))
    for name in later:
        assert await paypal.deliver(fixture(f"{name}.json")) == 200
    await processed(paypal, clock, len(expected) - 1)
    # Its payment never comes: four days are enough, PayPal repeats for three.
    clock.advance(97 * 3_600)
    await processed(paypal, clock, len(expected))

    records = {one.event_id: one.outcome for one in await paypal.records(len(expected))}
    assert records == {json.loads(fixture(f"{name}.json"))["id"]: outcome for name, outcome in expected.items()}
    assert await balances(paypal) == {
        "paypal:clearing:USD": 500 - 66,
        "paypal:fees:USD": 66 + 118,
        "paypal:held:USD": 2000 - 118,
        "paypal:revenue:USD": 500 + 2000,
    }
    reviews = {row.outcome for row in await paypal.running.rows(t.reviews)}
    assert reviews == {"accept_payment", "refund_of_unknown"}


async def test_held_money_is_ours_when_a_person_says_so_and_a_refund_is_never_more_than_its_payment(
    paypal: Paypal, clock: SettableClock
) -> None:
    body = json.loads(fixture("payment.sale.completed.held.synthetic.json"))
    sale = body["resource"]
    await send(paypal, [body])
    await processed(paypal, clock, 1)
    url = f"{paypal.running.url}/api/paypal/subscriptions/{sale['billing_agreement_id']}"
    async with paypal.running.http.get(url, headers={"Authorization": f"Bearer {API_KEY}"}) as response:
        assert (await response.json())["last_payment"]["state"] == "on_hold"

    order = PaymentRelease(payment_id=sale["id"], by="ann", note="free since today")
    await paypal.running.hub.api.command("paypal.payment.release", order, key=None)
    assert (await balances(paypal))["paypal:clearing:USD"] == 2000 - 118

    back = {"sale_id": sale["id"], "amount": {"total": "15.00", "currency": "USD"}}
    refunds = [news(7, "PAYMENT.SALE.REFUNDED", number, id=f"R{number}", **back) for number in (1, 2)]
    taken = news(7, "PAYMENT.SALE.REVERSED", 3, id="R3", amount={"total": "-1.00", "currency": "USD"})
    await send(paypal, [*refunds, taken])
    outcomes = await processed(paypal, clock, 4)

    assert sorted(str(one) for one in outcomes[1:]) == ["payment_refunded", "refund_exceeds", "reversal_unresolved"]
    assert (await balances(paypal))["paypal:revenue:USD"] == 0
    (payment,) = await paypal.entities(PaypalPayment)
    assert (payment.state, payment.refunded_minor) == ("refunded", 2000)


async def test_a_later_announcement_without_a_hold_frees_the_money_and_one_of_a_decided_payment_its_review(
    paypal: Paypal, clock: SettableClock
) -> None:
    sale = {name: value for name, value in life(1)[2]["resource"].items() if not name.endswith("_time")}
    fee = sale.pop("transaction_fee")
    held = news(1, "PAYMENT.SALE.COMPLETED", 3, **{**sale, "payment_hold_status": "HELD"})
    waiting = {**sale, "id": "SALE2", "state": "pending"}
    manual = news(1, "PAYMENT.SALE.PENDING", 6, reason_code="RECEIVING_PREFERENCE_MANDATES_MANUAL_ACTION", **waiting)
    told = [
        (held, "payment_held"),
        ({**news(1, "PAYMENT.SALE.COMPLETED", 3, **sale), "id": "WH-OLD"}, "payment_known"),
        (news(1, "PAYMENT.SALE.COMPLETED", 4, **sale, transaction_fee=fee), "payment_released"),
        (news(1, "PAYMENT.SALE.COMPLETED", 5, **sale), "payment_known"),
        (manual, "payment_pending"),
        (news(1, "PAYMENT.SALE.COMPLETED", 7, **{**waiting, "state": "completed"}), "payment_settled"),
    ]

    for number, (body, outcome) in enumerate(told, 1):
        await send(paypal, [body])
        assert (await processed(paypal, clock, number))[-1] == outcome

    assert await balances(paypal) == {
        "paypal:clearing:USD": 2 * 2000 - 118,
        "paypal:fees:USD": 118,
        "paypal:held:USD": 0,
        "paypal:revenue:USD": 2 * 2000,
    }
    assert [(row.outcome, row.state) for row in await paypal.running.rows(t.reviews)] == [
        ("accept_payment", "resolved")
    ]


async def test_late_news_change_nothing_and_every_cent_of_a_held_payment_is_accounted_for(
    paypal: Paypal, clock: SettableClock
) -> None:
    created, _, sale, _, _, cancelled = life(1)
    sale["resource"]["payment_hold_status"] = "HELD"
    created["resource"]["subscriber"] = {"email_address": "ann@example.com"}
    del cancelled["resource"]["plan_id"]
    back = {"sale_id": "SALE1", "state": "completed"}
    unclear = {**sale["resource"], "id": "SALE2", "state": "pending"}
    trial = {**sale["resource"], "id": "SALE3", "amount": usd("0.00")}
    told = [
        (cancelled, "status_changed"),
        (created, "older_news"),
        (sale, "payment_held"),
        (
            news(1, "PAYMENT.SALE.REFUNDED", 4, id="R0", amount=usd("9.00"), **{**back, "state": "failed"}),
            "refund_failed",
        ),
        (
            news(1, "PAYMENT.SALE.REFUNDED", 5, id="R1", amount=usd("5.00"), **fee_back("0.30"), **back),
            "payment_refunded",
        ),
        (
            news(1, "PAYMENT.SALE.REFUNDED", 6, id="R2", amount=usd("3.00"), **fee_back("1.00"), **back),
            "payment_refunded",
        ),
        (news(1, "PAYMENT.SALE.REVERSED", 7, id="R3", amount=usd("-2.00"), **back), "payment_refunded"),
        (news(1, "PAYMENT.SALE.REFUNDED", 8, id="R4", amount=usd("1.00"), **back), "payment_refunded"),
        (news(1, "PAYMENT.SALE.PENDING", 9, **sale["resource"]), "older_news"),
        (news(1, "PAYMENT.SALE.DENIED", 10, **sale["resource"]), "payment_denied_after_all"),
        (news(1, "PAYMENT.SALE.COMPLETED", 11, **unclear), "payment_unclear"),
        (news(1, "PAYMENT.SALE.COMPLETED", 12, **trial), "nothing_paid"),
    ]

    for number, (body, outcome) in enumerate(told, 1):
        await send(paypal, [body])
        assert (await processed(paypal, clock, number))[-1] == outcome

    (row,) = await paypal.entities(PaypalSubscription)
    assert (row.status, row.plan_id, row.email) == ("CANCELLED", "P-1", "ann@example.com")
    payments = {one.payment_id: one for one in await paypal.entities(PaypalPayment)}
    assert (payments["SALE1"].state, payments["SALE2"].state) == ("reversed", "pending")
    # The whole fee of 1.18 came back, and no cent more.
    left = {"paypal:fees:USD": 0, "paypal:held:USD": 900, "paypal:revenue:USD": 900}
    assert await balances(paypal) == left
    order = PaymentRelease(payment_id="SALE1", by="ann", note="free since today")
    await paypal.running.hub.api.command("paypal.payment.release", order, key=None)
    assert await balances(paypal) == {**left, "paypal:held:USD": 0, "paypal:clearing:USD": 900}

    # What no event tells, a person books: once, and never more than is left.
    async def book(refund_id: str, minor: int) -> None:
        order = {"payment_id": "SALE1", "refund_id": refund_id, "amount_minor": minor, "currency": "USD"}
        said = RefundOrder.model_validate({**order, "by": "ann", "note": "seen at PayPal"})
        await paypal.running.hub.api.command("paypal.refund.order", said, key=None)

    for refund_id, minor, code in (("R5", 901, "refund_exceeds"), ("R1", 1, "refund_known")):
        with pytest.raises(RefusedCommand, match=code):
            await book(refund_id, minor)
    await book("R5", 900)
    assert (await balances(paypal))["paypal:revenue:USD"] == 0


def usd(total: str) -> dict[str, str]:
    return {"total": total, "currency": "USD"}


def fee_back(value: str) -> dict[str, Any]:
    return {"refund_from_transaction_fee": {"value": value, "currency": "USD"}}
