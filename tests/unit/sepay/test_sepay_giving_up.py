"""An order that is given up takes every open intent with it, also one that is opened at the same moment."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.sepay import ordering
from handlers.sepay.intents import end_intents
from handlers.sepay.order_intents import create_intent, pay_by_transfer, top_up_for_order
from handlers.sepay.tables import PayPaymentIntent
from tests.unit.sepay.bench import USER, settle, wallet_balance
from tests.unit.sepay.desk import Desk
from tests.unit.sepay.shop_bench import PRICE, cancel, intent_for, order, order_of, stock, transfer_for


async def test_a_top_up_for_the_order_ends_with_it_and_its_late_money_is_the_users(desk: Desk) -> None:
    await stock(desk)
    waiting = await order(desk)
    command = {"user_id": USER, "order_id": waiting.order_id}
    await desk.run(top_up_for_order, command)
    await desk.run(pay_by_transfer, command)

    caused = await cancel(desk, waiting.order_id)

    assert {one.status for one in await desk.rows(PayPaymentIntent)} == {"expired"}
    assert [type_ for type_, _ in caused.emitted].count("payment.expired") == 2
    (topup,) = [one for one in await desk.rows(PayPaymentIntent) if one.purpose == "wallet_topup"]
    assert (await settle(desk, topup.order_code_norm, PRICE, id=1)).outcome == "credited"
    assert (await wallet_balance(desk), (await order_of(desk, waiting.order_id)).status) == (PRICE, "cancelled")


async def test_an_intent_that_is_opened_while_its_order_is_cancelled_ends_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    if desk.store.dialect == "sqlite":
        pytest.skip("one writer: nothing happens while the order is cancelled")
    await stock(desk)
    waiting = await order(desk)
    looks: list[int] = []

    async def end_and_let_another_be_opened(*given: Any, **named: Any) -> None:
        await end_intents(*given, **named)
        looks.append(len(looks))
        if len(looks) == 1:
            await desk.run(pay_by_transfer, {"user_id": USER, "order_id": waiting.order_id})

    monkeypatch.setattr(ordering, "end_intents", end_and_let_another_be_opened)

    await cancel(desk, waiting.order_id)

    assert looks
    assert (await intent_for(desk, waiting.order_id)).status == "expired"


async def test_a_top_up_does_not_pay_an_order_that_is_to_be_paid_by_transfer(desk: Desk) -> None:
    await stock(desk)
    waiting = await order(desk, method="sepay_transfer")
    asked = {"user_id": USER, "purpose": "wallet_topup", "amount": PRICE}
    desk.later(minutes=1)
    await desk.run(create_intent, {**asked, "metadata": {"order_id": str(waiting.order_id)}})

    assert (await transfer_for(desk, waiting.order_id, id=1)).outcome == "credited"

    assert await wallet_balance(desk) == PRICE
    assert (await order_of(desk, waiting.order_id)).status == "pending_payment"
