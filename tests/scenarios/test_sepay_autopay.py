"""A top-up that was made to pay an order: whatever becomes of the order, the deposit stands."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.sepay import crediting
from handlers.sepay.operating import activate, suspend
from handlers.sepay.paying import charge_wallet
from handlers.sepay.tables import PayPayment
from hub.store import tables as t
from tests.scenarios.bank import SHOP_QUEUE
from tests.scenarios.shop import PRICE, Shop


async def topup_for_order(shop: Shop) -> tuple[str, str]:
    """An order that waits, and the code of the top-up over all of it."""
    order = await shop.order()
    _, intent = await shop.act(order["order_id"], "topup-sepay")
    assert intent["amount"] == PRICE
    return order["order_id"], intent["order_code"]


async def test_a_payment_that_fails_half_way_leaves_the_deposit_and_tells_a_person(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, code = await topup_for_order(shop)

    async def fail(*given: Any, **named: Any) -> None:
        await charge_wallet(*given, **named)
        raise RuntimeError("after everything was done")

    monkeypatch.setattr(crediting, "charge_wallet", fail)

    await shop.pay(code, PRICE)

    assert await shop.bank.outcomes("settle-bank-transfer") == ["credited"]
    assert (await shop.balance(), await shop.order_status(order_id)) == (PRICE, "pending_payment")
    assert await shop.get("/symbol/licenses") == []
    assert await shop.bank.messages(SHOP_QUEUE) == []
    (review,) = await shop.bank.rows(t.reviews)
    assert review.outcome == "credited"
    monkeypatch.undo()
    assert (await shop.act(order_id, "pay-wallet"))[0] == 200


async def test_an_order_that_was_settled_meanwhile_is_not_paid_again(shop: Shop) -> None:
    order_id, code = await topup_for_order(shop)
    _, whole = await shop.act(order_id, "pay-sepay")
    await shop.pay(whole["order_code"], PRICE)

    await shop.pay(code, PRICE)

    assert await shop.bank.outcomes("settle-bank-transfer") == ["order_paid", "credited"]
    assert await shop.balance() == PRICE
    assert "Top-up completed; the order is paid" in {one.message for one in await shop.bank.entities(PayPayment)}


async def test_money_that_was_held_for_a_suspended_wallet_pays_the_order_when_it_is_released(shop: Shop) -> None:
    order_id, code = await topup_for_order(shop)
    api = shop.bank.running.hub.api
    await suspend(api, "42", by="ann", reason="check")
    await shop.pay(code, PRICE)
    assert (await shop.bank.suspense(), await shop.order_status(order_id)) == (PRICE, "pending_payment")

    await activate(api, "42", by="ann", reason="fine")
    await shop.bank.settled()

    assert await shop.bank.outcomes("release-held-transfer") == ["credited_and_order_paid"]
    assert (await shop.balance(), await shop.bank.suspense()) == (0, 0)
    assert await shop.order_status(order_id) == "paid"
