"""The published flows of a purchase, from the request to the licence: wallet, transfer, shortage, extension."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from handlers.sepay.tables import PayPaymentIntent
from handlers.sepay.tables_licenses import PayUserSymbolLicense
from handlers.sepay.tables_orders import PaySymbolOrder
from tests.scenarios.bank import LOYALTY_QUEUE, SHOP_QUEUE
from tests.scenarios.shop import ITEM, LIFETIME_PRICE, PRICE, Shop
from tests.support.clock import SettableClock

PARALLEL = 50


async def test_an_order_that_the_wallet_can_pay_is_paid_at_once(shop: Shop) -> None:
    await shop.fund(500_000)

    order = await shop.order()

    assert (order["status"], order["message"]) == ("paid", "Order processed successfully.")
    assert (order["insufficient_balance"], order["wallet_balance"], order["shortage"]) == (False, None, None)
    assert await shop.balance() == 300_000
    access = await shop.get("/symbol/1/access")
    assert (access["has_access"], access["is_lifetime"], access["expires_soon"]) == (True, False, False)
    await shop.bank.settled()
    told = await shop.bank.messages(SHOP_QUEUE)
    assert [sorted(one)[0] for one in told] == ["order_id", "end_at"]
    assert told[0]["payment_method"] == "wallet"
    kinds = [one["kind"] for one in await shop.bank.messages(LOYALTY_QUEUE)]
    assert kinds[-2:] == ["loyalty.order.paid", "loyalty.license.activated"]


async def test_an_order_by_transfer_is_paid_by_its_transfer(shop: Shop) -> None:
    order = await shop.order(method="sepay_transfer")
    (intent,) = await shop.bank.entities(PayPaymentIntent)
    assert (order["status"], intent.purpose) == ("pending_payment", "symbol_purchase")
    assert order["payment_intent_id"] == str(intent.intent_id)
    assert order["qr_code_url"] == intent.qr_code_url

    await shop.pay(intent.order_code, PRICE)

    assert await shop.bank.outcomes("settle-bank-transfer") == ["order_paid"]
    assert await shop.order_status(order["order_id"]) == "paid"
    assert await shop.balance() == 0
    assert len(await shop.get("/symbol/licenses")) == 1


async def test_a_short_wallet_keeps_the_order_and_a_transfer_of_the_whole_pays_it(shop: Shop) -> None:
    await shop.fund(50_000)
    order = await shop.order()
    assert (order["status"], order["insufficient_balance"]) == ("pending_payment", True)
    assert (order["wallet_balance"], order["shortage"]) == (50_000, 150_000)
    assert order["message"] == "Số dư ví không đủ. Thiếu 150,000 VND. Vui lòng chọn thanh toán bằng SePay."

    status, intent = await shop.act(order["order_id"], "pay-sepay")

    assert (status, intent["amount"], intent["order_code"][:4]) == (200, PRICE, "PAY_")
    await shop.pay(intent["order_code"], PRICE)
    assert await shop.order_status(order["order_id"]) == "paid"
    assert await shop.balance() == 50_000


async def test_a_short_wallet_is_topped_up_and_the_order_paid_by_it(shop: Shop) -> None:
    await shop.fund(50_000)
    order = await shop.order()

    status, intent = await shop.act(order["order_id"], "topup-sepay")

    assert (status, intent["amount"], intent["shortage"], intent["order_code"][:5]) == (200, 150_000, 150_000, "TOPUP")
    assert intent["message"] == "Create a SePay top-up for 150,000 VND to finish the order."
    await shop.pay(intent["order_code"], 150_000)
    assert await shop.bank.outcomes("settle-bank-transfer") == ["credited", "credited_and_order_paid"]
    assert await shop.order_status(order["order_id"]) == "paid"
    assert await shop.balance() == 0
    status, again = await shop.act(order["order_id"], "topup-sepay")
    assert (status, again["code"]) == (409, "order_not_payable")


async def test_a_shortage_below_the_smallest_transfer_asks_for_the_smallest(shop: Shop) -> None:
    await shop.fund(199_000)
    order = await shop.order()

    _, intent = await shop.act(order["order_id"], "topup-sepay")

    assert (intent["amount"], intent["shortage"]) == (2_000, 1_000)
    await shop.pay(intent["order_code"], 2_000)
    assert (await shop.order_status(order["order_id"]), await shop.balance()) == ("paid", 1_000)


async def test_an_ordinary_top_up_leaves_the_order_to_its_user(shop: Shop) -> None:
    await shop.fund(50_000)
    order = await shop.order()
    await shop.fund(500_000)
    assert (await shop.order_status(order["order_id"]), await shop.balance()) == ("pending_payment", 550_000)

    status, paid = await shop.act(order["order_id"], "pay-wallet")
    again, refused = await shop.act(order["order_id"], "pay-wallet")

    assert (status, paid["amount_charged"], paid["wallet_balance_after"]) == (200, PRICE, 350_000)
    assert (paid["licenses_created"], paid["subscriptions_updated"]) == (1, 0)
    assert (again, refused["code"]) == (409, "order_not_payable")
    assert await shop.balance() == 350_000


async def test_two_intents_of_one_order_pay_it_once(shop: Shop) -> None:
    order = await shop.order()
    _, first = await shop.act(order["order_id"], "pay-sepay")
    _, second = await shop.act(order["order_id"], "pay-sepay")
    assert first["order_code"] != second["order_code"]

    await shop.pay(first["order_code"], PRICE)
    await shop.pay(second["order_code"], PRICE)

    assert await shop.bank.outcomes("settle-bank-transfer") == ["order_paid", "order_not_payable"]
    assert await shop.bank.suspense() == PRICE
    assert len(await shop.get("/symbol/licenses")) == 1


async def test_a_licence_is_extended_from_its_end_and_a_lifetime_stays_one(shop: Shop, clock: SettableClock) -> None:
    await shop.fund(2_000_000)
    await shop.order()
    first = await shop.get("/symbol/1/access")
    assert end_of(first) == datetime.fromisoformat(first["start_at"]) + timedelta(days=30)

    clock.advance(10 * 86_400)
    await shop.order()
    assert end_of(await shop.get("/symbol/1/access")) == end_of(first) + timedelta(days=30)
    await shop.order({"symbol_id": 1, "price": LIFETIME_PRICE, "license_days": None})
    await shop.order()

    access = await shop.get("/symbol/1/access")
    assert (access["end_at"], access["is_lifetime"], access["expires_soon"]) == (None, True, False)
    assert len(await shop.bank.entities(PayUserSymbolLicense)) == 1


async def test_items_of_one_symbol_in_one_order_add_up(shop: Shop) -> None:
    await shop.fund(2 * PRICE)

    order = await shop.order(ITEM, ITEM)

    assert order["total_amount"] == 2 * PRICE
    access = await shop.get("/symbol/1/access")
    assert end_of(access) == datetime.fromisoformat(access["start_at"]) + timedelta(days=60)


async def test_fifty_purchases_at_once_on_a_wallet_that_can_pay_one_pay_exactly_one(shop: Shop) -> None:
    await shop.fund(PRICE)

    replies = await asyncio.gather(*(shop.order() for _ in range(PARALLEL)))

    statuses = [reply["status"] for reply in replies]
    assert (statuses.count("paid"), statuses.count("pending_payment")) == (1, PARALLEL - 1)
    assert sum(reply["insufficient_balance"] for reply in replies) == PARALLEL - 1
    assert await shop.balance() == 0
    assert len(await shop.get("/symbol/licenses")) == 1


async def test_fifty_payments_of_one_order_at_once_pay_it_once(shop: Shop) -> None:
    order = await shop.order()
    await shop.fund(10 * PRICE)

    replies = await asyncio.gather(*(shop.act(order["order_id"], "pay-wallet") for _ in range(PARALLEL)))

    assert sorted(status for status, _ in replies) == [200] + [409] * (PARALLEL - 1)
    assert await shop.balance() == 9 * PRICE


async def test_purchases_and_transfers_at_once_give_one_licence_with_all_the_time(shop: Shop) -> None:
    await shop.fund(5 * PRICE)
    orders = [await shop.order(method="sepay_transfer") for _ in range(5)]
    codes = [one.order_code for one in await shop.bank.entities(PayPaymentIntent) if one.purpose == "symbol_purchase"]

    await asyncio.gather(*(shop.pay(code, PRICE) for code in codes), *(shop.order() for _ in range(5)))

    assert [await shop.order_status(order["order_id"]) for order in orders] == ["paid"] * 5
    (license,) = await shop.bank.entities(PayUserSymbolLicense)
    assert license.end_at == license.start_at + timedelta(days=300)
    assert {one.status for one in await shop.bank.entities(PaySymbolOrder)} == {"paid"}


def end_of(access: dict[str, str]) -> datetime:
    return datetime.fromisoformat(access["end_at"])


async def test_a_repeated_request_is_answered_with_the_order_that_there_is(shop: Shop) -> None:
    await shop.fund(PRICE)
    body = {"items": [ITEM], "payment_method": "wallet"}

    async def ask(key: str, **more: Any) -> tuple[int, Any]:
        running = shop.bank.running
        headers = {"Authorization": f"Bearer {running.token('42')}", "Idempotency-Key": key}
        url = f"{running.url}/api/seapay/symbol/orders/"
        async with running.http.post(url, json={**body, **more}, headers=headers) as response:
            return response.status, await response.json()

    copies = await asyncio.gather(*(ask("one") for _ in range(5)))
    again = await shop.order(request_id="one")
    other_user = await shop.order(user="43", request_id="one")
    waiting = await ask("two", payment_method="sepay_transfer")

    assert {status for status, _ in copies} == {200}
    assert {reply["order_id"] for _, reply in copies} == {again["order_id"]} != {other_user["order_id"]}
    assert {(reply["status"], reply["message"]) for _, reply in copies} == {("paid", again["message"])}
    assert (await shop.balance(), len(await shop.bank.entities(PaySymbolOrder))) == (0, 3)
    assert await ask("two", payment_method="sepay_transfer") == waiting
    assert (await ask("one", description="another"))[1]["code"] == "request_id_reused"
