"""Every row of the error catalogue: the request that leads to it, its status and shape; and that nothing was stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from handlers.sepay.answering import STATUSES
from handlers.sepay.operating import suspend
from handlers.sepay.tables import PayPaymentIntent
from handlers.sepay.tables_orders import PaySymbolOrder
from tests.scenarios.bank import Bank
from tests.scenarios.outage import database_away
from tests.scenarios.shop import ITEM, PRICE, Shop
from tests.support.clock import SettableClock

FILE = Path(__file__).parents[1] / "data/sepay/error_catalogue.json"
CATALOGUE: Final[dict[str, int]] = {row["code"]: row["http_status"] for row in json.loads(FILE.read_bytes())["api"]}
NOBODY = UUID(int=9)

INTENT: Final[dict[str, Any]] = {"purpose": "wallet_topup", "amount": 100_000}
ORDER: Final[dict[str, Any]] = {"items": [ITEM], "payment_method": "wallet"}

BODIES: Final[list[tuple[str, str, dict[str, Any], str]]] = [
    ("POST", "/create-intent", {**INTENT, "purpose": "gift"}, "invalid_purpose"),
    ("POST", "/create-intent", {**INTENT, "purpose": None}, "invalid_purpose"),
    ("POST", "/create-intent", {**INTENT, "purpose": "order_payment"}, "invalid_purpose"),
    (
        "POST",
        "/create-intent",
        {**INTENT, "purpose": "order_payment", "metadata": {"order_id": str(NOBODY)}},
        "invalid_purpose",
    ),
    ("POST", "/create-intent", {**INTENT, "amount": 0}, "invalid_amount"),
    ("POST", "/create-intent", {**INTENT, "amount": 100_000.5}, "invalid_amount"),
    ("POST", "/create-intent", {**INTENT, "amount": 10**12}, "invalid_amount"),
    ("POST", "/create-intent", {**INTENT, "amount": "100000"}, "invalid_amount"),
    ("POST", "/create-intent", {**INTENT, "currency": "USD"}, "unsupported_currency"),
    ("POST", "/create-intent", {**INTENT, "expires_in_minutes": 1441}, "invalid_request"),
    ("POST", "/create-intent", {**INTENT, "return_url": "javascript:alert(1)"}, "invalid_request"),
    ("POST", "/create-intent", {**INTENT, "metadata": {"long": "x" * 5_000}}, "invalid_request"),
    ("POST", "/create-intent", {**INTENT, "metadata": {"nul": "\0"}}, "invalid_request"),
    ("POST", "/create-intent", {**INTENT, "metadata": []}, "invalid_request"),
    ("POST", "/wallet/topup/", {"amount": 100_000, "bank_code": "NONE"}, "unknown_bank_code"),
    ("POST", "/symbol/orders/", {**ORDER, "items": []}, "empty_order"),
    ("POST", "/symbol/orders/", {"payment_method": "wallet"}, "empty_order"),
    ("POST", "/symbol/orders/", {**ORDER, "items": "all"}, "invalid_request"),
    ("POST", "/symbol/orders/", {**ORDER, "items": [ITEM] * 51}, "invalid_request"),
    ("POST", "/symbol/orders/", {**ORDER, "description": "x\0y"}, "invalid_request"),
    *(
        ("POST", "/symbol/orders/", {**ORDER, "items": [{**ITEM, **fields}]}, "invalid_item")
        for fields in (
            {"symbol_id": None},
            {"symbol_id": 0},
            {"symbol_id": "1"},
            {"symbol_id": 2**63},
            {"price": None},
            {"price": 0},
            {"price": -1},
            {"price": 0.5},
            {"price": True},
            {"price": 10**30},
            {"license_days": 0},
            {"license_days": -30},
            {"license_days": 36_501},
            {"auto_renew_price": 0},
            {"auto_renew_cycle_days": 0},
            {"metadata": {"long": "x" * 5_000}},
        )
    ),
    ("POST", "/symbol/orders/", {**ORDER, "items": [{**ITEM, "symbol_id": 99}]}, "symbol_not_found"),
    ("POST", "/symbol/orders/", {**ORDER, "items": [{**ITEM, "price": 1}]}, "price_mismatch"),
    ("POST", "/symbol/orders/", {**ORDER, "items": [{**ITEM, "license_days": 31}]}, "price_mismatch"),
    ("POST", "/symbol/orders/", {**ORDER, "items": [{**ITEM, "license_days": None}]}, "price_mismatch"),
    (
        "POST",
        "/symbol/orders/",
        {**ORDER, "items": [{**ITEM, "auto_renew": True, "auto_renew_price": 1}]},
        "price_mismatch",
    ),
    (
        "POST",
        "/symbol/orders/",
        {**ORDER, "items": [{**ITEM, "auto_renew": True, "auto_renew_cycle_days": 3650}]},
        "price_mismatch",
    ),
    ("POST", "/symbol/orders/", {**ORDER, "payment_method": "cash"}, "invalid_payment_method"),
    ("POST", "/symbol/orders/", {"items": [ITEM]}, "invalid_payment_method"),
    ("GET", "/symbol/orders/history/?status=lost", {}, "invalid_status_filter"),
    ("GET", "/payments/user?status=lost", {}, "invalid_status_filter"),
    ("GET", "/payments/user?purpose=gift", {}, "invalid_purpose"),
    ("GET", "/payments/user?page=0", {}, "invalid_request"),
    ("GET", "/payments/user?limit=101", {}, "invalid_request"),
    ("GET", "/symbol/licenses?page=x", {}, "invalid_request"),
    ("GET", "/symbol/first/access", {}, "invalid_request"),
    ("GET", f"/intent/{NOBODY}", {}, "intent_not_found"),
    ("GET", f"/wallet/topup/{NOBODY}/status", {}, "intent_not_found"),
    *(
        ("POST", f"/symbol/{kind}/{order_id}/{word}", {}, "order_not_found")
        for kind in ("order", "orders")
        for order_id in (NOBODY, "none")
        for word in ("pay-wallet", "pay-sepay", "topup-sepay", "cancel")
    ),
    ("POST", f"/symbol/subscriptions/{NOBODY}/pause", {}, "subscription_not_found"),
]
NOT_HERE: Final = {
    "wallet_not_found": "a wallet is opened by the first who asks for it",
    "webhook_unauthorised": "the webhook's answer has SePay's shape: test_sepay_transfers.py",
    "internal_error": "no request is known that leads there",
}


async def test_a_wrong_request_is_refused_by_its_name_and_leaves_nothing(shop: Shop) -> None:
    for method, path, body, code in BODIES:
        status, error = await shop.bank.call(method, path, body or None)

        assert (path, body, error.get("code"), status) == (path, body, code, STATUSES[code])
        assert isinstance(error["detail"], str)
    assert await shop.bank.entities(PaySymbolOrder) == []
    assert await shop.bank.entities(PayPaymentIntent) == []


def test_every_row_of_the_catalogue_is_met_with_its_status() -> None:
    in_states = {
        *("wallet_suspended", "insufficient_balance", "order_not_payable", "topup_not_needed", "wrong_payment_method"),
        *("unauthenticated", "too_many_requests", "temporarily_unavailable"),
    }
    met = {code for _, _, _, code in BODIES} | in_states
    assert set(CATALOGUE) - met == set(NOT_HERE)
    assert {code: STATUSES[code] for code in CATALOGUE if code in STATUSES} == {
        code: status for code, status in CATALOGUE.items() if code in STATUSES
    }


async def test_a_suspended_wallet_buys_and_asks_for_nothing(shop: Shop) -> None:
    await shop.fund(PRICE)
    order = await shop.order({**ITEM, "symbol_id": 1}, ITEM)
    await suspend(shop.bank.running.hub.api, "42", by="ann", reason="check")

    for path, body in [
        ("/create-intent", INTENT),
        ("/wallet/topup/", {"amount": 100_000}),
        ("/symbol/orders/", ORDER),
        (f"/symbol/order/{order['order_id']}/pay-wallet", None),
        (f"/symbol/order/{order['order_id']}/topup-sepay", None),
    ]:
        assert await shop.bank.call("POST", path, body) == (
            400,
            {"detail": "Wallet is suspended", "code": "wallet_suspended"},
        )
    # A transfer does not touch the wallet: it may pay an order all the same.
    _, intent = await shop.act(order["order_id"], "pay-sepay")
    await shop.pay(intent["order_code"], 2 * PRICE)
    assert await shop.order_status(order["order_id"]) == "paid"


async def test_an_order_that_cannot_be_paid_so_says_why(shop: Shop) -> None:
    await shop.fund(PRICE)
    order = await shop.order(ITEM, ITEM)
    by_transfer = await shop.order(method="sepay_transfer")

    status, error = await shop.act(order["order_id"], "pay-wallet")
    assert (status, error["code"]) == (400, "insufficient_balance")
    assert (error["wallet_balance"], error["total_amount"], error["shortage"]) == (PRICE, 2 * PRICE, PRICE)
    for word in ("pay-wallet", "topup-sepay"):
        assert (await shop.act(by_transfer["order_id"], word))[1]["code"] == "wrong_payment_method"
    await shop.fund(PRICE)
    assert (await shop.act(order["order_id"], "topup-sepay"))[1]["code"] == "topup_not_needed"
    await shop.act(order["order_id"], "pay-wallet")
    for word in ("pay-wallet", "pay-sepay", "topup-sepay", "cancel"):
        status, error = await shop.act(order["order_id"], word)
        assert (word, status, error["code"]) == (word, 409, "order_not_payable")


async def test_nobody_reaches_another_user_s_order_or_symbol(shop: Shop) -> None:
    await shop.fund(PRICE)
    paid = await shop.order()
    waiting = await shop.order()

    for word in ("pay-wallet", "pay-sepay", "topup-sepay", "cancel"):
        assert (await shop.act(waiting["order_id"], word, user="43"))[1]["code"] == "order_not_found"
    assert (await shop.get("/symbol/orders/history", user="43"))["total"] == 0
    assert await shop.get("/symbol/licenses", user="43") == []
    assert (await shop.get("/symbol/1/access", user="43"))["reason"] == "no_license"
    assert (await shop.get("/payments/user", user="43"))["total"] == 0
    named = {"purpose": "order_payment", "amount": PRICE, "metadata": {"order_id": waiting["order_id"]}}
    assert (await shop.bank.call("POST", "/create-intent", named, user="43"))[1]["code"] == "invalid_purpose"
    assert (await shop.bank.call("POST", "/create-intent", named))[0] == 200
    assert paid["status"] == "paid"


async def test_a_stranger_s_order_is_not_paid_by_a_top_up_that_names_it(shop: Shop) -> None:
    order = await shop.order()
    named = {**INTENT, "amount": PRICE, "metadata": {"order_id": order["order_id"]}}
    _, intent = await shop.bank.call("POST", "/create-intent", named, user="43")

    await shop.pay(intent["order_code"], PRICE)

    assert await shop.order_status(order["order_id"]) == "pending_payment"
    assert await shop.balance(user="43") == PRICE


@pytest.mark.parametrize("path", ["/symbol/orders/history", "/symbol/licenses", "/payments/user", "/symbol/1/access"])
async def test_without_a_token_nobody_gets_in(shop: Shop, path: str) -> None:
    assert (await shop.bank.call("GET", path, user=""))[1]["code"] == "unauthenticated"


async def test_while_the_database_is_away_an_order_is_asked_to_come_again(shop: Shop) -> None:
    async with database_away(shop.bank.running.hub.store):
        status, error = await shop.bank.call("POST", "/symbol/orders/", ORDER)

    assert (status, error["code"]) == (503, "temporarily_unavailable")
    assert await shop.bank.entities(PaySymbolOrder) == []


async def test_ten_intents_a_minute_are_enough_for_one_user(bank: Bank, shop: Shop, clock: SettableClock) -> None:
    order = await shop.order()
    replies = [await shop.act(order["order_id"], "pay-sepay") for _ in range(11)]

    assert [status for status, _ in replies] == [200] * 10 + [429]
    assert replies[-1][1]["code"] == "too_many_requests"
    assert (await bank.call("POST", "/create-intent", INTENT))[0] == 429
    clock.advance(61)
    assert (await bank.call("POST", "/create-intent", INTENT))[0] == 200
