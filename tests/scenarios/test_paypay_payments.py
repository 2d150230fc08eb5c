"""Payments by PayPay: codes, direct debits, captures, reverts, cancels, refunds, and PayPay's silence at each step."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.paypay import payment_desk
from handlers.paypay.sandbox_books import Payment, Refund
from hub.store import tables as t
from schemas.paypay import CancelOrder, PaymentDecided, RefundOrder
from tests.scenarios.paypay_exchange import API, CLIENT_KEY, REDIRECT, RESULTS, Shop, paypay_shop
from tests.support.clock import SettableClock
from tests.support.running import API_KEY

JAPAN = ZoneInfo("Asia/Tokyo")
ANSWERS = "paypay.command.answers"
AFTER = ("timeout-after-commit", "html-502-after-commit")
BEFORE = ("reset-before-commit", "error-500")
LOOKS_S = (1, 9, 15, 15, 20, 60)


@pytest.fixture
async def shop(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[Shop]:
    async with paypay_shop(database_url, tmp_path, clock) as shop:
        yield shop
        await assert_the_books_are_paypays(shop)


async def ask(shop: Shop, method: str, path: str, body: object = None, *, status: int | None = None) -> Any:
    got, answer = await shop.call(method, f"{API}/{path}", body, key=CLIENT_KEY)
    assert got == status or (status is None and got in (200, 202)), answer
    await shop.settled()
    return answer


async def code_for(shop: Shop, key: str, amount_jpy: int = 1_200, **more: object) -> dict[str, Any]:
    body = {"amount_jpy": amount_jpy, "order_description": "月餅", "idempotency_key": key, **more}
    made = await ask(shop, "POST", "codes", body)
    shown: dict[str, Any] = await ask(shop, "GET", f"codes/{made['payment_id']}")
    return shown


async def debit(shop: Shop, session_id: str, key: str, amount_jpy: int = 1_000, **more: object) -> str:
    body = {"member_id": "m-1", "session_id": session_id, "amount_jpy": amount_jpy, "order_description": "a"}
    made = await ask(shop, "POST", "payments", {**body, "idempotency_key": key, **more})
    payment_id: str = made["payment_id"]
    return payment_id


async def agreed(shop: Shop) -> str:
    """A member who has agreed to direct debits: the session."""
    body = {"member_id": "m-1", "device_type": "SP", "redirect_url": REDIRECT, "scopes": ["direct_debit"]}
    _, session = await shop.call("POST", f"{API}/sessions", body, key=CLIENT_KEY)
    token = await shop.logged_in(session["link_url"])
    update = {"member_id": "m-1", "responseToken": token}
    status, _ = await shop.call("POST", f"{API}/sessions/update_session", update)
    assert status == 200
    session_id: str = session["session_id"]
    return session_id


async def state(shop: Shop, payment_id: str) -> str:
    shown = await ask(shop, "GET", f"payments/{payment_id}")
    return str(shown["status"])


async def results(shop: Shop) -> list[tuple[str, int]]:
    return [(key.removeprefix("paypay.payment."), body["amount_jpy"]) for key, body in await shop.messages(RESULTS)]


async def waited(shop: Shop, waits_s: tuple[float, ...] = LOOKS_S) -> None:
    for wait_s in waits_s:
        await shop.passes(wait_s)


async def assert_the_books_are_paypays(shop: Shop) -> None:
    """What PayPay owes us is what it has taken and not given back, and no promise is left that has ended."""
    now, books = shop.clock.now().timestamp(), shop.sandbox.books
    stands = [one for one in books.all(Payment) if shop.sandbox.payments.status(one, now) in ("COMPLETED", "REFUNDED")]
    given_back = sum(one.amount_jpy for one in books.all(Refund) if one.status(now) == "REFUNDED")
    balances = await shop.balances()
    assert balances.get("paypay:yen:receivable", 0) == sum(one.amount_jpy for one in stands) - given_back
    booked = balances.get("paypay:yen:sales", 0) + balances.get("paypay:yen:suspense", 0)
    assert booked == balances.get("paypay:yen:receivable", 0)
    assert balances.get("paypay:yen:to-capture", 0) == 0


async def test_a_code_is_paid_and_refunded(shop: Shop) -> None:
    shown = await code_for(shop, "order-1")
    assert (shown["status"], shown["url"].rsplit("/", 1)[1]) == ("CREATED", shown["code_id"])
    await shop.passes(4)
    assert await state(shop, shown["payment_id"]) == "CREATED"

    paid = shop.sandbox.payments.pay_code(shown["code_id"], shop.clock.now().timestamp())
    await shop.passes(4)
    assert await state(shop, shown["payment_id"]) == "COMPLETED"
    assert (await code_for(shop, "order-1"))["payment_id"] == shown["payment_id"]
    other = {"amount_jpy": 1, "order_description": "月餅", "idempotency_key": "order-1"}
    assert (await ask(shop, "POST", "codes", other, status=409))["error"] == "IDEMPOTENCY_CONFLICT"

    path, refund = f"payments/{shown['payment_id']}/refund", {"reason": "returned", "idempotency_key": "refund-1"}
    too_much = await ask(shop, "POST", path, {**refund, "amount_jpy": 1_201}, status=422)
    first = await ask(shop, "POST", path, {**refund, "amount_jpy": 200})
    again = await ask(shop, "POST", path, {**refund, "amount_jpy": 200})
    assert too_much["error"] == "AMOUNT_TOO_HIGH"
    assert again["refund_id"] == first["refund_id"]
    assert await state(shop, shown["payment_id"]) == "REFUND_ACCEPTED"
    await shop.passes(4)
    view = await ask(shop, "GET", f"refunds/{first['refund_id']}")
    assert (view["status"], view["amount_jpy"]) == ("DONE", 200)
    assert (await ask(shop, "POST", path, {**refund, "idempotency_key": "k"}, status=409))["error"] == "NOT_REFUNDABLE"
    assert paid.id == shown["merchant_payment_id"]
    assert await results(shop) == [("completed", 1_200), ("refunded", 200)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_sweep_finds_payments_and_refunds_whose_timer_was_lost(shop: Shop) -> None:
    async def lose_timers(conn: AsyncConnection) -> None:
        await conn.execute(delete(t.timers))

    shown = await code_for(shop, "order-1")
    shop.sandbox.payments.pay_code(shown["code_id"], shop.clock.now().timestamp())
    await shop.hub.hub.store.write(lose_timers)
    await shop.passes(3_590)
    assert (await shop.swept(), await state(shop, shown["payment_id"])) == (0, "CREATED")
    await shop.passes(30)
    assert (await shop.swept(), await state(shop, shown["payment_id"])) == (1, "COMPLETED")

    refund = {"reason": "returned", "idempotency_key": "refund-1"}
    asked = await ask(shop, "POST", f"payments/{shown['payment_id']}/refund", refund)
    await shop.hub.hub.store.write(lose_timers)
    await shop.passes(3_610)
    assert await shop.swept() == 1
    assert (await ask(shop, "GET", f"refunds/{asked['refund_id']}"))["status"] == "DONE"
    await shop.passes(3_610)
    assert await shop.swept() == 0


async def test_codes_that_end_unpaid_are_switched_off_and_a_late_payment_is_kept(shop: Shop) -> None:
    unpaid, late, unwanted = [await code_for(shop, key) for key in ("unpaid", "late", "unwanted")]
    await ask(shop, "DELETE", f"codes/{unwanted['payment_id']}")
    await waited(shop, (1,))
    # One look at a code that is off may be older than a payment by it.
    assert await state(shop, unwanted["payment_id"]) == "CANCELING"
    await waited(shop, LOOKS_S[1:5])
    assert await state(shop, unwanted["payment_id"]) == "CANCELLED_BY_US"

    # Nobody is told of this payment, and the last look before the code ends has been.
    shop.clock.advance(298 - sum(LOOKS_S[:5]))
    shop.sandbox.payments.pay_code(late["code_id"], shop.clock.now().timestamp())
    shop.order("html-502", times=9, path="/v2/codes/payments")
    await waited(shop, (62, 4))
    shop.sandbox.faults.clear()
    await waited(shop, (*LOOKS_S, 60, 60, 300))

    assert await state(shop, late["payment_id"]) == "COMPLETED"
    assert await state(shop, unpaid["payment_id"]) == "EXPIRED"
    assert sorted(await results(shop)) == [("canceled", 1_200), ("completed", 1_200), ("expired", 1_200)]


async def test_money_after_an_end_is_held_until_a_person_gives_it_back_or_keeps_it(shop: Shop) -> None:
    shown = [await code_for(shop, key) for key in ("given-back", "kept")]
    ids, api = [UUID(one["payment_id"]) for one in shown], shop.hub.hub.api
    await waited(shop, (400, *LOOKS_S))
    assert [await state(shop, one["payment_id"]) for one in shown] == ["EXPIRED", "EXPIRED"]

    async def tell(one: dict[str, Any], state: str) -> None:
        said = {"notification_type": "Transaction", "merchant_order_id": one["merchant_payment_id"], "state": state}
        await shop.notified(said, f"{API}/webhook")
        await shop.settled()

    for one in shown:
        await tell(one, "FAILED")
        # PayPay takes the money although the code was off, right after a look, and tells of it once.
        code = shop.sandbox.payments.code(one["code_id"])
        assert code is not None
        shop.sandbox.payments._take(code.id, "", code.body, shop.clock.now().timestamp(), is_authorization=False)
        await tell(one, "COMPLETED")
    await waited(shop, (5, 5))
    assert [await state(shop, one["payment_id"]) for one in shown] == ["MANUAL", "MANUAL"]
    assert (await shop.balances())["paypay:yen:suspense"] == 2_400
    assert await shop.reviews() == ["payment_taken_after_end"] * 2
    listed = await payment_desk.payments(api, status="manual", member=None, is_in_trouble=True, limit=9)
    assert {one.payment_id for one in listed} == set(ids)

    # What a look does not learn settles nothing.
    shop.order("html-502", path="/v2/codes/payments")
    await payment_desk.look(api, ids[0])
    await shop.settled()
    assert len(await shop.reviews()) == 2
    order = {"payment_id": ids[0], "reason": "too late", "operator": "ann", "idempotency_key": "cli-1"}
    await payment_desk.refund(api, RefundOrder.model_validate(order))
    decided = {"payment_id": ids[1], "decision": "completed", "by": "ann", "note": "we deliver"}
    assert await payment_desk.settle(api, PaymentDecided.model_validate(decided)) == "COMPLETED"
    await shop.settled()
    await waited(shop, (4, 60))

    assert [await state(shop, one["payment_id"]) for one in shown] == ["REFUNDED", "COMPLETED"]
    assert (await shop.reviews(), (await shop.balances())["paypay:yen:suspense"]) == ([], 0)
    ends = [("completed", 1_200), ("expired", 1_200), ("expired", 1_200), ("refunded", 1_200)]
    assert sorted(await results(shop)) == ends


async def test_what_is_old_can_be_cancelled_and_what_was_captured_elsewhere_is_booked(shop: Shop) -> None:
    session_id = await agreed(shop)
    keys = ("old", "captured", "told")
    old, captured, told = [await debit(shop, session_id, key, is_authorization=True) for key in keys]
    await shop.passes(2 * 86_400)
    await payment_desk.cancel(
        shop.hub.hub.api, CancelOrder(payment_id=UUID(old), operator="ann", note="the guest has left")
    )
    now = shop.clock.now().timestamp()
    for payment_id in (captured, told):
        view = await ask(shop, "GET", f"payments/{payment_id}")
        body = {"merchantPaymentId": view["merchant_payment_id"], "merchantCaptureId": payment_id, "requestedAt": 1}
        shop.sandbox.payments.capture(
            {**body, "amount": {"amount": 700, "currency": "JPY"}, "orderDescription": "elsewhere"}, now
        )
    # PayPay says that it is captured, and then nothing for a while.
    await ask(shop, "POST", f"payments/{captured}/capture", {"idempotency_key": "c-1"})
    shop.order(
        "html-502",
        times=1,
        path=f"/v2/payments/{(await ask(shop, 'GET', f'payments/{captured}'))['merchant_payment_id']}",
    )
    # Of the other one it tells, under its own id alone.
    said = {"notification_type": "Transaction", "merchant_order_id": "", "order_id": view["paypay_payment_id"]}
    await shop.notified(said, f"{API}/webhook")
    await shop.settled()
    await waited(shop, (1, 9, 15))

    assert [await state(shop, one) for one in (old, captured, told)] == ["CANCELED", "COMPLETED", "COMPLETED"]
    views = [await ask(shop, "GET", f"payments/{one}") for one in (captured, told)]
    assert [view["captured_jpy"] for view in views] == [700, 700]
    assert [key for key, _ in sorted(await results(shop))] == ["authorized"] * 3 + ["canceled"] + ["completed"] * 2

    # What is cancelled before anybody knows that it was paid is never told as completed.
    shop.order("reset-after-commit", path="/v2/payments")
    in_doubt = await debit(shop, session_id, "in-doubt")
    shop.order("error-500", times=3, path="/v2/payments")
    await ask(shop, "POST", f"payments/{in_doubt}/cancel")
    await waited(shop, (5, 2 * 86_400, *LOOKS_S))
    assert await state(shop, in_doubt) == "REFUNDED"
    assert [key for key, _ in await results(shop)][6:] == ["refunded"]


async def test_an_authorization_is_captured_in_part_reverted_or_runs_out(shop: Shop) -> None:
    session_id = await agreed(shop)
    kept, retried, given_up, forgotten = [
        await debit(shop, session_id, key, is_authorization=True)
        for key in ("kept", "retried", "given-up", "forgotten")
    ]
    assert (await shop.balances())["paypay:yen:to-capture"] == 4_000

    # The answer to a capture is lost once when the money was taken, and once when it was not.
    capture = {"amount_jpy": 700, "idempotency_key": "c-1"}
    for payment_id, fault in ((kept, "reset-after-commit"), (retried, "timeout-before-commit")):
        shop.order(fault, path="/v2/payments/capture")
        await ask(shop, "POST", f"payments/{payment_id}/capture", capture)
    shop.order("reset-before-commit", path="/v2/payments/preauthorize/revert")
    await ask(shop, "POST", f"payments/{given_up}/revert", {"reason": "sold out"})
    assert await ask(
        shop, "POST", f"payments/{kept}/capture", {"amount_jpy": 1_001, "idempotency_key": "c-2"}, status=409
    )
    await waited(shop, (1, 5, 9, 60))
    ends = [await state(shop, one) for one in (kept, retried, given_up, forgotten)]
    assert ends == ["COMPLETED", "COMPLETED", "CANCELED", "AUTHORIZED"]
    assert (await ask(shop, "GET", f"payments/{kept}"))["captured_jpy"] == 700

    await shop.passes(31 * 86_400)
    assert await state(shop, forgotten) == "EXPIRED"
    assert sorted(await results(shop)) == [
        *(("authorized", 1_000),) * 4,
        ("canceled", 1_000),
        ("completed", 700),
        ("completed", 700),
        ("expired", 1_000),
    ]


async def test_no_silence_of_paypay_takes_money_twice_or_loses_it(shop: Shop) -> None:
    session_id = await agreed(shop)
    made = {}
    for fault in (*AFTER, *BEFORE):
        shop.order(fault, path="/v2/payments")
        made[fault] = await debit(shop, session_id, fault)
        assert await state(shop, made[fault]) == "UNKNOWN", fault

    await waited(shop)

    for fault, payment_id in made.items():
        assert await state(shop, payment_id) == ("COMPLETED" if fault in AFTER else "FAILED"), fault
    assert len(shop.sandbox.books.all(Payment)) == len(AFTER)
    # One that cannot be read either is cancelled: it was never to be taken unseen.
    shop.order("reset-after-commit", path="/v2/payments")
    unread = await debit(shop, session_id, "unread")
    shop.order("html-502", times=5, path="/v2/payments")
    await waited(shop, (*LOOKS_S, 60))
    assert await state(shop, unread) == "CANCELLED_BY_US"
    ends = sorted(await results(shop))
    assert ends == [("canceled", 1_000)] + [("completed", 1_000)] * 2 + [("failed", 1_000)] * 2


async def test_a_cancel_becomes_a_refund_at_a_quarter_past_midnight_in_japan(shop: Shop, clock: SettableClock) -> None:
    tomorrow = datetime.now(JAPAN).date() + timedelta(days=1)
    clock.set(datetime(tomorrow.year, tomorrow.month, tomorrow.day, 22, tzinfo=JAPAN).astimezone(UTC))
    session_id = await agreed(shop)
    early, late = await debit(shop, session_id, "early"), await debit(shop, session_id, "late")

    await shop.passes(2 * 3600 + 14 * 60 + 59)
    await ask(shop, "POST", f"payments/{early}/cancel")
    await shop.passes(1)
    await ask(shop, "POST", f"payments/{late}/cancel")
    await waited(shop)

    assert [await state(shop, one) for one in (early, late)] == ["CANCELLED_BY_US", "REFUNDED"]
    assert sorted(await results(shop)) == [
        ("canceled", 1_000),
        ("completed", 1_000),
        ("completed", 1_000),
        ("refunded", 1_000),
    ]


async def test_a_refund_in_doubt_is_asked_about_and_made_once(shop: Shop) -> None:
    session_id = await agreed(shop)
    faults = ("reset-after-commit", "reset-before-commit")
    made = {fault: await debit(shop, session_id, fault) for fault in faults}
    for fault, payment_id in made.items():
        shop.order(fault, path="/v2/refunds")
        order = {"reason": "returned", "idempotency_key": "r-1"}
        await ask(shop, "POST", f"payments/{payment_id}/refund", order)
        assert await state(shop, payment_id) == "REFUND_UNKNOWN"

    await waited(shop, (4, 60, 4, 8))

    assert [await state(shop, one) for one in made.values()] == ["REFUNDED", "REFUNDED"]
    assert [one.amount_jpy for one in shop.sandbox.books.all(Refund)] == [1_000, 1_000]


async def test_commands_by_message_are_answered_and_a_notification_only_asks_for_a_look(shop: Shop) -> None:
    async def tell(type_: str, request_id: str, **fields: object) -> None:
        headers = {"ce-specversion": "1.0", "ce-id": request_id, "ce-source": "paypay-commands", "ce-type": type_}
        headers |= {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
        body = json.dumps({"request_id": request_id, **fields}).encode()
        status, answer = await shop.hub.post("/events", body, **headers)
        assert status < 300, answer
        await shop.settled()

    await tell("paypay.code.create", "m-1", amount_jpy=500)
    await tell("paypay.code.create", "m-1", amount_jpy=500)
    await tell("paypay.payment.capture", "m-2", payment_id=str(UUID(int=1)), idempotency_key="c")
    await tell("paypay.payment.create", "m-3", amount_jpy=0)
    answers = await shop.messages(ANSWERS)
    assert [key for key, _ in answers] == ["paypay.command.answered", *("paypay.command.refused",) * 2]
    assert [body["code"] for _, body in answers[1:]] == ["NOT_FOUND", "INVALID_REQUEST"]

    reply = answers[0][1]["reply"]
    shown = await ask(shop, "GET", f"codes/{reply['payment_id']}")
    said = {"notification_type": "Transaction", "merchant_order_id": shown["merchant_payment_id"], "state": "COMPLETED"}
    await shop.notified(said, f"{API}/webhook")
    await shop.settled()
    assert await state(shop, reply["payment_id"]) == "CREATED"
    shop.sandbox.payments.pay_code(shown["code_id"], shop.clock.now().timestamp())
    shop.clock.advance(6)
    await shop.notified({**said, "state": "FAILED"}, f"{API}/webhook")
    await shop.notified({**said, "merchant_order_id": "pay-unknown"}, f"{API}/webhook")
    await shop.settled()
    assert await state(shop, reply["payment_id"]) == "COMPLETED"
