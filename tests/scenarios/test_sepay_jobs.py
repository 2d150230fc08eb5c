"""What happens as time passes: licences end and are announced, renewals are paid, tried again, suspended."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from handlers.sepay.operating import activate, suspend
from handlers.sepay.tables_licenses import SymbolAutoRenewAttempt, SymbolAutoRenewSubscription
from handlers.sepay.tables_orders import PaySymbolOrder
from tests.scenarios.bank import LOYALTY_QUEUE, SHOP_QUEUE
from tests.scenarios.shop import ITEM, PRICE, Shop
from tests.support.clock import SettableClock

DAY_S = 86_400
RENEWING = {**ITEM, "auto_renew": True}


async def test_a_licence_ends_by_itself_and_the_job_says_so_once(shop: Shop, clock: SettableClock) -> None:
    await shop.fund(PRICE)
    await shop.order()
    clock.advance(24 * DAY_S)
    await shop.job_ran("remind-of-license-ends", "reminded")
    soon = await shop.get("/symbol/1/access")
    assert (soon["has_access"], soon["expires_soon"]) == (True, True)

    clock.advance(6 * DAY_S)
    ended = await shop.get("/symbol/1/access")
    assert (ended["has_access"], ended["reason"]) == (False, "expired")
    clock.advance(1 * DAY_S)
    await shop.job_ran("expire-licenses", "expired")

    assert (await shop.get("/symbol/1/access"))["reason"] == "expired"
    (license,) = await shop.get("/symbol/licenses")
    assert (license["status"], license["is_active"]) == ("expired", False)
    assert (await told(shop)).count("license.expired") == 1
    assert (await told(shop)).count("license.expires_soon") == 1
    assert [one["kind"] for one in await shop.bank.messages(LOYALTY_QUEUE)].count("loyalty.license.expired") == 1


async def test_a_renewal_is_paid_before_the_licence_ends(shop: Shop, clock: SettableClock) -> None:
    await shop.fund(3 * PRICE)
    await shop.order(RENEWING)
    before = await shop.get("/symbol/1/access")
    (waiting,) = await shop.get("/symbol/subscriptions")
    assert waiting["status"] == "active"
    assert instant(waiting["next_billing_at"]) == instant(before["end_at"]) - timedelta(hours=12)

    clock.set(instant(waiting["next_billing_at"]))
    await shop.job_ran("renew-license", "renewed")

    after = await shop.get("/symbol/1/access")
    (renewed,) = await shop.get("/symbol/subscriptions")
    assert instant(after["end_at"]) == instant(before["end_at"]) + timedelta(days=30)
    assert instant(renewed["next_billing_at"]) == instant(after["end_at"]) - timedelta(hours=12)
    assert (renewed["consecutive_failures"], await shop.balance()) == (0, PRICE)
    assert len(await shop.bank.entities(PaySymbolOrder)) == 2
    assert [one.status for one in await shop.bank.entities(SymbolAutoRenewAttempt)] == ["success"]
    assert (await told(shop)).count("renewal.succeeded") == 1


@pytest.mark.parametrize("cause", ["insufficient_balance", "wallet_suspended"])
async def test_a_renewal_that_fails_three_times_is_suspended(shop: Shop, clock: SettableClock, cause: str) -> None:
    await shop.fund(PRICE if cause == "insufficient_balance" else 2 * PRICE)
    await shop.order(RENEWING)
    if cause == "wallet_suspended":
        await suspend(shop.bank.running.hub.api, "42", by="ann", reason="check")

    for failures in (1, 2, 3):
        (due,) = await shop.get("/symbol/subscriptions")
        clock.set(instant(due["next_billing_at"]) + timedelta(minutes=15))
        await renewals_ran(shop, cause, failures)

    (subscription,) = await shop.get("/symbol/subscriptions")
    assert (subscription["status"], subscription["consecutive_failures"]) == ("suspended", 3)
    assert subscription["next_billing_at"] is None
    attempts = await shop.bank.entities(SymbolAutoRenewAttempt)
    assert [(one.status, one.fail_reason) for one in attempts] == [("failed", cause)] * 3
    events = await told(shop)
    assert (events.count("renewal.failed"), events.count("renewal.suspended")) == (2, 1)


async def test_a_suspended_renewal_can_be_resumed_once_there_is_money(shop: Shop, clock: SettableClock) -> None:
    await shop.fund(2 * PRICE)
    await shop.order(RENEWING)
    await suspend(shop.bank.running.hub.api, "42", by="ann", reason="check")
    for failures in (1, 2, 3):
        (due,) = await shop.get("/symbol/subscriptions")
        clock.set(instant(due["next_billing_at"]) + timedelta(minutes=15))
        await renewals_ran(shop, "wallet_suspended", failures)
    await activate(shop.bank.running.hub.api, "42", by="ann", reason="fine")

    status, resumed = await change(shop, "resume")

    assert (status, resumed["status"], resumed["consecutive_failures"]) == (200, "active", 0)
    clock.set(instant(resumed["next_billing_at"]) + timedelta(minutes=15))
    await shop.job_ran("renew-license", "renewed")
    assert await shop.balance() == 0


async def test_a_renewal_is_paused_resumed_and_cancelled_by_its_user_alone(shop: Shop) -> None:
    await shop.fund(PRICE)
    await shop.order(RENEWING)

    assert (await change(shop, "resume"))[1]["code"] == "wrong_subscription_status"
    paused = (await change(shop, "pause"))[1]
    assert (paused["status"], paused["next_billing_at"]) == ("paused", None)
    assert (await change(shop, "resume"))[1]["status"] == "active"
    assert (await change(shop, "cancel", user="43")) == (
        404,
        {"detail": "Subscription not found", "code": "subscription_not_found"},
    )
    assert (await change(shop, "cancel"))[1]["status"] == "cancelled"
    assert (await change(shop, "cancel"))[0] == 409
    await shop.bank.settled()
    assert (await told(shop))[-3:] == ["renewal.paused", "renewal.resumed", "renewal.cancelled"]


async def test_a_licence_for_ever_completes_its_renewal(shop: Shop) -> None:
    await shop.fund(PRICE + 900_000)
    await shop.order(RENEWING)

    await shop.order({"symbol_id": 1, "price": 900_000, "license_days": None})

    (subscription,) = await shop.get("/symbol/subscriptions")
    assert (subscription["status"], subscription["next_billing_at"]) == ("completed", None)


async def test_an_order_that_is_cancelled_takes_its_renewal_and_its_intents_with_it(shop: Shop) -> None:
    order = await shop.order(RENEWING, method="sepay_transfer")
    (waiting,) = await shop.bank.entities(SymbolAutoRenewSubscription)
    assert waiting.status == "pending_activation"

    status, cancelled = await shop.act(order["order_id"], "cancel")

    assert (status, cancelled["status"]) == (200, "cancelled")
    intent = await shop.get(f"/intent/{order['payment_intent_id']}")
    assert intent["status"] == "expired"
    await shop.pay(intent["order_code"], PRICE)
    assert await shop.bank.outcomes("settle-bank-transfer") == ["order_not_payable"]
    assert await shop.bank.suspense() == PRICE
    assert (await shop.get("/symbol/subscriptions"))[0]["status"] == "cancelled"
    assert sorted(await told(shop)) == ["order.cancelled", "payment.expired", "renewal.cancelled"]
    assert (await shop.act(order["order_id"], "cancel"))[0] == 409


async def test_an_unpaid_intent_expires_and_its_order_waits_on(shop: Shop, clock: SettableClock) -> None:
    order = await shop.order(method="sepay_transfer")
    clock.advance(2 * 3_600)
    await shop.job_ran("expire-sepay-intents", "expired")

    _, again = await shop.act(order["order_id"], "pay-sepay")
    await shop.pay(again["order_code"], PRICE)

    assert await shop.order_status(order["order_id"]) == "paid"
    assert "payment.expired" in await told(shop)


async def told(shop: Shop) -> list[str]:
    """The types of the shop's events, in order of publishing."""
    return [row.routing_key for row in await shop.bank.running.queue(SHOP_QUEUE)]


async def renewals_ran(shop: Shop, outcome: str, times: int) -> None:
    """Wait until so many renewals have ended this way."""
    await shop.job_ran("renew-license", outcome, times=times)


async def change(shop: Shop, word: str, *, user: str = "42") -> tuple[int, Any]:
    (subscription,) = await shop.get("/symbol/subscriptions")
    path = f"/symbol/subscriptions/{subscription['subscription_id']}/{word}"
    return await shop.bank.call("POST", path, user=user)


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
