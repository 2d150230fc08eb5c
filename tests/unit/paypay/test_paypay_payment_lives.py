"""Payments that live through anything: orders at any moment, and a PayPay whose answers are lost, late or too old."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from handlers.paypay import payments
from handlers.paypay.codes import Call
from handlers.paypay.outcomes import Outcome
from handlers.paypay.paying import (
    order_cancel,
    order_capture,
    order_refund,
    order_revert,
    request_code,
    request_payment,
)
from handlers.paypay.payment_words import UNPAID, PaymentStatus, Trouble
from handlers.paypay.sandbox_books import Code, Payment, Refund
from handlers.paypay.sandbox_replies import Refusal, Reply
from schemas.paypay import CancelOrder, CaptureOrder, CodeBody, PaymentBody, RefundOrder, RevertOrder
from tests.unit.paypay.payment_world import World

S = PaymentStatus
IS_LONG = os.environ.get("HUB_TEST_LONG", "0") != "0"
SEEDS = range(400 if IS_LONG else 8)
ORDERS = 5
WHATEVER = ("pay", "look", "capture", "refund", "revert", "cancel")
PLANS = (
    ("pay", "cancel"),
    ("pay", "cancel"),
    ("cancel", "pay"),
    ("pay", "refund"),
    ("pay", "capture", "cancel"),
    ("capture", "refund"),
)
"""What is most likely to meet in the middle; then comes whatever comes."""
WAITS_S = (0.0, 0.0, 0.0, 0.5, 2.0, 20.0, 298.0, 355.0, 40_000.0)
MONTH_S = 35 * 86_400.0


@asynccontextmanager
async def life(seed: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[World, UUID]]:
    monkeypatch.setattr(payments, "paypay", lambda ctx: ctx.client)
    world = World(random.Random(seed))
    try:
        yield world, await world.open()
    finally:
        await world.close()


async def begun(world: World, session_id: UUID) -> UUID:
    """A payment of one of four kinds."""
    is_authorization = world.chance.random() < 0.3
    common = {"amount_jpy": 1_000, "order_description": "a", "is_authorization": is_authorization}
    if world.chance.random() < 0.5:
        reply = await world.order(request_code, CodeBody.model_validate({**common, "idempotency_key": "k"}))
    else:
        more = {"member_id": "member-1", "session_id": session_id, "idempotency_key": "k"}
        reply = await world.order(request_payment, PaymentBody.model_validate({**common, **more}))
    payment_id: UUID = reply.payment_id
    return payment_id


def pay(world: World) -> None:
    """A user scans the code, where there is one."""
    for code in world.sandbox.books.all(Code):
        try:
            world.sandbox.payments.pay_code(code.code_id, world.now.timestamp())
        except Refusal:
            return


async def happens(what: str, world: World, payment_id: UUID, number: int) -> bool:
    """An order, a payment by the user or a notification; whether it was a cancel that was accepted."""
    match what:
        case "pay":
            pay(world)
        case "look":
            await world.look(payment_id)
        case "capture":
            amount_jpy = world.chance.choice([None, 700])
            order = CaptureOrder(payment_id=payment_id, amount_jpy=amount_jpy, idempotency_key=f"c-{number}")
            await world.order(order_capture, order)
        case "refund":
            amount_jpy = world.chance.choice([None, 300])
            asked = {"amount_jpy": amount_jpy, "reason": "r", "idempotency_key": f"r-{number}"}
            await world.order(order_refund, RefundOrder.model_validate({"payment_id": payment_id, **asked}))
        case "revert":
            await world.order(order_revert, RevertOrder(payment_id=payment_id))
        case _:
            return await world.order(order_cancel, CancelOrder(payment_id=payment_id)) is not None
    return False


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_happens_the_books_are_paypays(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async with life(seed, monkeypatch) as (world, session_id):
        world.trouble = world.chance.choice([0.1, 0.3, 0.6])
        payment_id = await begun(world, session_id)
        told_before_cancel: int | None = None
        plan = (*world.chance.choice(PLANS), *world.chance.choices(WHATEVER, k=ORDERS))
        for number, what in enumerate(plan):
            await world.passes(world.chance.choice(WAITS_S))
            is_cancelled = await happens(what, world, payment_id, number)
            if is_cancelled and told_before_cancel is None:
                told_before_cancel = [result for result, _ in world.told].count("completed")
        world.trouble = 0.0
        await world.passes(MONTH_S)

        row = await world.row(payment_id)
        balances = world.ledger.balances
        told = [result for result, _ in world.told]
        refunds = world.sandbox.books.all(Refund)
        assert balances.get("receivable", 0) == world.taken_jpy(), row.status
        assert balances.get("receivable", 0) == balances.get("sales", 0) + balances.get("suspense", 0)
        assert row.refunded_jpy == sum(one.amount_jpy for one in refunds)
        assert balances.get("to-capture", 0) == 0
        assert row.state in {*UNPAID, S.COMPLETED, S.REFUNDED} or world.reviews, row.status
        assert (row.state is S.MANUAL) <= bool(world.reviews), row.status
        assert told.count("completed") <= 1
        if told_before_cancel is not None:
            assert told.count("completed") == told_before_cancel, "a cancelled order was told as completed"
        assert len(world.sandbox.books.all(Payment)) <= 1


CODE_BODY = CodeBody(amount_jpy=1_000, idempotency_key="k")


async def test_money_of_which_paypay_does_not_say_how_much_is_booked_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with life(0, monkeypatch) as (world, _):
        await world.order(request_code, CODE_BODY)
        await world.passes(1)
        pay(world)
        judge = world.client._judged

        def without_amount(call: Call, reply: Reply) -> Outcome:
            body = {**reply.body, "data": {**reply.body["data"], "amount": {"amount": 2**70, "currency": "JPY"}}}
            return judge(call, Reply(reply.http_status, body))

        monkeypatch.setattr(world.client, "_judged", without_amount)
        await world.passes(MONTH_S)

        assert world.ledger.balances == {"receivable": 1_000, "sales": 1_000}
        assert [outcome for outcome, _ in world.reviews.values()] == [Trouble.AMOUNT_UNREAD]


async def test_a_code_paid_at_its_last_moment_is_kept_though_paypay_shows_it_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with life(0, monkeypatch) as (world, _):
        payment_id = (await world.order(request_code, CODE_BODY)).payment_id
        await world.passes(298)
        name = (await world.row(payment_id)).merchant_payment_id
        world.client.lags(name, 1_000)
        pay(world)
        while (await world.row(payment_id)).state is S.CREATED:
            await world.passes(4)
        # It is switched off now, or rather cannot be: three looks more, and PayPay shows who has paid.
        world.client.lags(name, 3)
        await world.passes(MONTH_S)

        assert (await world.row(payment_id)).state is S.COMPLETED
        assert [result for result, _ in world.told] == ["completed"]
        assert world.ledger.balances == {"receivable": 1_000, "sales": 1_000}


@pytest.mark.parametrize("is_too_late", [False, True])
async def test_a_code_paid_just_before_its_cancel_is_undone_and_never_a_sale(
    is_too_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with life(0, monkeypatch) as (world, _):
        payment_id = (await world.order(request_code, CODE_BODY)).payment_id
        await world.passes(1)
        pay(world)
        await world.order(order_cancel, CancelOrder(payment_id=payment_id))
        if is_too_late:
            # PayPay is silent until a quarter past midnight in Japan.
            world.client.is_down = True
            await world.passes(44_200)
            world.client.is_down = False
        else:
            await world.passes(2)
            assert world.ledger.balances == {"receivable": 1_000, "suspense": 1_000}
        await world.passes(MONTH_S)

        assert (await world.row(payment_id)).state is (S.REFUNDED if is_too_late else S.CANCELLED_BY_US)
        assert [result for result, _ in world.told] == ["refunded" if is_too_late else "canceled"]
        assert (world.ledger.balances, world.taken_jpy()) == ({}, 0)
