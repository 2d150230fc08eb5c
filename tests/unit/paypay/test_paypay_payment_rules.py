"""What a payment's rows, books, reviews and timers make of a step: without a hub and without PayPay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import StaticPool

from handlers.paypay.checks import payments_late
from handlers.paypay.outcomes import Declined, Facts, Outcome, Pending, Settled, Unknown, Verdict
from handlers.paypay.payment_looks import with_overdue
from handlers.paypay.payment_money import book, book_refund, hold, state_of_money, undo
from handlers.paypay.payment_notes import note, note_code, note_part
from handlers.paypay.payment_requests import CODE_SLACK, Work
from handlers.paypay.payment_states import after_create
from handlers.paypay.payment_steps import ask, is_superseded, look_at_expiry, next_step, take_step
from handlers.paypay.payment_words import UNPAID, Act, PaymentStatus, Step, Trouble
from handlers.paypay.tables_payments import PayPayCode, PayPayPayment, PayPayRefund
from tests.unit.paypay.payment_delivery import NOW, Delivery

S = PaymentStatus


@pytest.fixture
def ctx() -> Any:
    return Delivery()


def payment(status: PaymentStatus, **more: object) -> PayPayPayment:
    fields = {
        "id": uuid4(),
        "kind": "direct",
        "merchant_payment_id": "pay-1",
        "amount_jpy": 1_200,
        "refunded_jpy": 0,
        "is_authorization": False,
        "status": status,
        "requested_at": NOW,
        "poll_until": NOW + timedelta(minutes=5),
        "is_unwanted": False,
        "reads": 0,
        "absent_reads": 0,
        "unpaid_reads": 0,
        "reads_since": NOW,
        "cancels": 0,
        "bookings": 0,
        "troubles": {},
    }
    return PayPayPayment(**{**fields, **more})


def refund_of(row: PayPayPayment, **more: object) -> PayPayRefund:
    fields = {"id": uuid4(), "payment_id": row.id, "amount_jpy": 1_200, "status": "NEW", "reason": "r", "looks": 0}
    return PayPayRefund(**{**fields, "attempts": 0, **more})


def answered(kind: type[Outcome], call: str, *, data: Mapping[str, Any] | None = None, **more: Any) -> Outcome:
    facts = Facts(call=call, http_status=200, data=data or {}, **more).stored()
    return Settled(facts) if kind is Settled else kind("said", facts)  # type: ignore[arg-type,call-arg]


LATE = Step(S.MANUAL, (Act.HOLD, Act.PERSON), Trouble.TAKEN_AFTER_END)


@pytest.mark.parametrize("status", sorted(UNPAID))
async def test_money_that_comes_after_an_end_is_in_suspense_and_no_look_closes_its_review(
    status: PaymentStatus, ctx: Any
) -> None:
    row = payment(status)

    await take_step(row, LATE, ctx, amount_jpy=1_200)
    assert ctx.ledger.balances == {"receivable": 1_200, "suspense": 1_200}
    assert (row.captured_jpy, row.booked_as, ctx.results) == (1_200, "suspense", [])
    ctx.begin()
    await take_step(row, Step(S.MANUAL), ctx)
    await take_step(row, LATE, ctx, amount_jpy=1_200)
    assert [outcome for outcome, _ in ctx.reviews.values()] == ["payment_taken_after_end"]

    await take_step(row, Step(S.COMPLETED, (Act.BOOK,)), ctx)
    assert ctx.ledger.balances == {"receivable": 1_200, "sales": 1_200}
    assert ctx.results == [("completed", 1_200)]


async def test_a_review_of_an_ended_payment_stays_until_the_money_is_where_it_belongs(ctx: Any) -> None:
    row = payment(S.FAILED)
    authorized = Step(S.FAILED, (Act.PERSON,), Trouble.AUTHORIZED_AFTER_END)

    await take_step(row, authorized, ctx)
    ctx.begin()
    await take_step(row, Step(S.FAILED), ctx)

    assert [outcome for outcome, _ in ctx.reviews.values()] == ["payment_authorized_after_end"]


async def test_each_trouble_is_a_review_of_its_own_and_is_closed_with_its_end(ctx: Any) -> None:
    row = payment(S.AUTHORIZED, authorized_at=NOW, is_authorization=True)
    for trouble in (Trouble.CAPTURE_REFUSED, Trouble.CAPTURE_REFUSED, Trouble.REVERT_REFUSED):
        await take_step(row, Step(S.AUTHORIZED, (Act.PERSON,), trouble), ctx)
        ctx.begin()
    assert [outcome for outcome, _ in ctx.reviews.values()] == ["capture_refused", "revert_refused"]

    await ctx.ledger.post(f"paypay:authorization:{row.id}", "authorization", [])
    await take_step(row, Step(S.COMPLETED), ctx)
    assert len(ctx.reviews) == 2, "taken, but nobody knows how much: it is in no account yet"
    await take_step(row, Step(S.COMPLETED, (Act.BOOK,)), ctx, amount_jpy=700)
    assert (ctx.reviews, row.troubles, row.captured_jpy) == ({}, {}, 700)


async def test_two_troubles_of_one_answer_share_a_review_that_says_both(ctx: Any) -> None:
    row = payment(S.EXPIRED)

    await take_step(row, LATE, ctx, amount_jpy=900)

    (review,) = ctx.reviews.values()
    assert "another amount" in review[1]
    assert "after this had ended" in review[1]
    assert set(row.troubles) == {"payment_amount_differs", "payment_taken_after_end"}


async def test_a_cancelled_payment_is_never_told_as_completed(ctx: Any) -> None:
    row = payment(S.CANCELING, is_unwanted=True)

    await take_step(row, Step(S.CANCELING, (Act.HOLD, Act.CANCEL)), ctx, amount_jpy=1_200)
    assert ctx.ledger.balances == {"receivable": 1_200, "suspense": 1_200}
    await take_step(row, Step(S.CANCEL_ACCEPTED, (Act.POLL,)), ctx)
    await take_step(row, Step(S.CANCELLED_BY_US), ctx)

    assert (ctx.ledger.balances, ctx.results) == ({}, [("canceled", 1_200)])
    # And should PayPay say after that that it was paid, that is money of its own.
    await take_step(row, LATE, ctx, amount_jpy=1_200)
    assert ctx.ledger.balances == {"receivable": 1_200, "suspense": 1_200}


async def test_what_was_kept_can_be_undone_and_what_is_held_can_be_refunded(ctx: Any) -> None:
    kept, held = payment(S.MANUAL), payment(S.MANUAL)
    for row in (kept, held):
        await hold(row, 1_200, ctx)
    await book(kept, 1_200, ctx)
    assert [state_of_money(row) for row in (kept, held)] == [S.COMPLETED, S.MANUAL]

    await undo(kept, "cancelled", ctx)
    await book_refund(held, refund_of(held), 1_200, ctx)

    assert ctx.ledger.balances == {}
    assert (held.refunded_jpy, state_of_money(held)) == (1_200, S.REFUNDED)


async def test_a_refund_of_another_amount_than_was_asked_for_is_booked_as_paypay_says(ctx: Any) -> None:
    row = payment(S.COMPLETED)
    await book(row, 1_200, ctx)
    refund = refund_of(row)

    await book_refund(row, refund, 500, ctx)
    await book_refund(row, refund, 500, ctx)

    assert (row.refunded_jpy, refund.amount_jpy, ctx.ledger.balances["sales"]) == (500, 500, 700)
    assert [outcome for outcome, _ in ctx.reviews.values()] == ["payment_amount_differs"]


def test_an_answer_about_another_payment_leaves_no_id_and_no_state(ctx: Any) -> None:
    row = payment(S.UNKNOWN, paypay_payment_id="ours", paypay_status="CREATED")
    theirs = {"paymentId": "theirs", "expiresAt": 1_800_000_000}

    note(row, answered(Unknown, "get_payment_details", status="COMPLETED", data=theirs), ctx)
    assert (row.paypay_payment_id, row.paypay_status, row.paid_at, row.expires_at) == ("ours", "CREATED", None, None)
    note(row, answered(Settled, "get_payment_details", status="COMPLETED", data=theirs), ctx)
    assert (row.paypay_payment_id, row.paypay_status, row.paid_at) == ("theirs", "COMPLETED", NOW)


def test_a_refund_in_doubt_stays_so_whatever_refuses_the_next_try(ctx: Any) -> None:
    row = payment(S.COMPLETED)
    refused = answered(Declined, "refund_payment", verdict=Verdict.REJECTED)
    first, second = refund_of(row), refund_of(row)

    note_part("refund", first, refused, ctx)
    note_part("refund", second, Unknown("no answer"), ctx)
    assert (first.status, first.doubt, second.status, second.doubt) == ("REFUSED", None, "UNKNOWN", "open")
    second.looks = 9
    note_part("refund", second, refused, ctx)
    assert (second.status, second.doubt, second.looks) == ("UNKNOWN", "refused", 0)
    note_part("refund", second, answered(Declined, "refund_payment", verdict=Verdict.RETRY_SAME_ID), ctx)
    assert (second.status, second.doubt) == ("UNKNOWN", "open")


@pytest.mark.parametrize("verdict", [Verdict.NOT_FOUND, Verdict.REJECTED, Verdict.FAILED])
def test_only_a_first_refusal_ends_a_refund(verdict: Verdict, ctx: Any) -> None:
    kind: Any = Unknown if verdict is Verdict.NOT_FOUND else Declined
    sent, doubtful = refund_of(payment(S.COMPLETED)), refund_of(payment(S.COMPLETED), doubt="open")

    for refund in (sent, doubtful):
        note_part("refund", refund, answered(kind, "refund_payment", verdict=verdict), ctx)

    assert (sent.status, doubtful.status) == ("REFUSED", "UNKNOWN")


async def test_an_authorization_whose_end_is_not_told_is_looked_at_all_the_same(ctx: Any) -> None:
    row = payment(S.UNKNOWN)

    await take_step(row, Step(S.AUTHORIZED), ctx)

    ((delay_s, step),) = ctx.timers
    assert (delay_s, step.operation, step.reason) == (6 * 3_600, "details", "timer")


async def test_the_look_that_comes_first_is_the_one_that_counts(ctx: Any) -> None:
    row = payment(S.AUTHORIZED, expires_at=NOW + timedelta(days=20))
    await look_at_expiry(row, ctx)
    await ask(row, "details", ctx, delay_s=60.0, reason="timer")
    await ask(row, "details", ctx, delay_s=3_600.0, reason="timer")

    assert [delay_s for delay_s, _ in ctx.timers] == [20 * 86_400 + 60, 60]
    (_, last), (_, first) = ctx.timers
    ctx.now = NOW + timedelta(seconds=30)
    assert is_superseded(row, last.due, ctx)
    # Let go by a process whose clock is ahead of this one's: no other look would come.
    assert not is_superseded(row, first.due, ctx)
    ctx.now = NOW + timedelta(seconds=60)
    assert not is_superseded(row, last.due, ctx)


async def test_a_look_that_was_asked_for_sets_a_timer_where_it_changes_something(ctx: Any) -> None:
    row = payment(S.MANUAL)

    await take_step(row, Step(S.CREATED, (Act.POLL,)), ctx, is_timed=False)
    assert [step.operation for _, step in ctx.timers] == ["details"]
    await take_step(row, Step(S.CREATED, (Act.POLL,)), ctx, is_timed=False)
    assert len(ctx.timers) == 1


@pytest.mark.parametrize("status", [S.CANCELING, S.CANCEL_ACCEPTED, S.REFUND_NEEDED, S.REFUND_UNKNOWN, S.COMPLETED])
def test_what_is_undecided_for_a_day_is_for_a_person(status: PaymentStatus, ctx: Any) -> None:
    row, step = payment(status), Step(status, (Act.LOOK,))

    ctx.now = NOW + timedelta(hours=23)
    assert with_overdue(row, step, ctx) == step
    ctx.now = NOW + timedelta(hours=24)
    assert with_overdue(row, step, ctx).acts == (Act.LOOK, Act.PERSON)
    assert with_overdue(payment(S.COMPLETED, booked_as="sales"), Step(S.COMPLETED), ctx) == Step(S.COMPLETED)


def test_a_code_is_off_when_it_was_deleted_or_its_end_came_while_that_was_tried() -> None:
    code = PayPayCode(payment_id=uuid4(), wanted={}, code_id="04-1", expires_at=NOW)
    work = Work(payment(S.CANCELING), code, None)
    after = NOW + CODE_SLACK

    assert (work.is_code_on, work.is_switched_off(after)) == (True, False)
    work.payment.cancels = 1
    assert (work.is_switched_off(NOW), work.is_switched_off(after)) == (False, True)
    work.payment.cancels, code.deleted_at = 0, NOW
    assert (work.is_code_on, work.is_switched_off(NOW)) == (False, True)
    work.payment.paypay_status, code.deleted_at = "COMPLETED", None
    assert not work.is_code_on


async def test_a_payment_of_yesterday_is_looked_at_before_it_is_given_back(ctx: Any) -> None:
    today, yesterday = payment(S.AUTHORIZED, paid_at=NOW), payment(S.AUTHORIZED, paid_at=NOW - timedelta(days=2))

    assert await next_step(today, ctx) == Step(S.CANCELING, (Act.CANCEL,))
    assert await next_step(yesterday, ctx) == Step(S.REFUND_NEEDED, (Act.LOOK,))


@pytest.mark.parametrize("epoch", [253_402_300_799, 2**63, -1, 0, True, "1704160000", None])
def test_a_code_that_ends_with_the_calendar_has_no_end(epoch: object) -> None:
    row, code = payment(S.NEW), PayPayCode(payment_id=uuid4(), wanted={})
    work = Work(row, code, None)

    note_code(work, Settled(Facts(call="create_qr_code", data={"codeId": "c", "expiryDate": epoch}).stored()))

    assert (code.code_id, code.expires_at, row.poll_until) == ("c", None, NOW + timedelta(minutes=5))


def test_a_pending_refund_is_success_on_its_way(ctx: Any) -> None:
    refund = refund_of(payment(S.REFUND_UNKNOWN), status="UNKNOWN", doubt="open")

    note_part("refund_details", refund, answered(Pending, "refund_details", status="CREATED"), ctx)

    assert refund.status == "PENDING"


@pytest.mark.parametrize(
    ("wanted_jpy", "taken_jpy", "troubles"), [(700, 700, 0), (700, 1_200, 1), (None, 700, 0), (None, 1_300, 1)]
)
async def test_what_is_captured_is_what_was_asked_for_and_never_more_than_all(
    wanted_jpy: int | None, taken_jpy: int, troubles: int, ctx: Any
) -> None:
    row = payment(S.AUTHORIZED, is_authorization=True)

    await book(row, taken_jpy, ctx, wanted_jpy=wanted_jpy)

    assert (ctx.ledger.balances["sales"], len(ctx.reviews)) == (taken_jpy, troubles)


@pytest.mark.parametrize("status", sorted(UNPAID))
async def test_an_end_without_money_is_looked_at_once_more(status: PaymentStatus, ctx: Any) -> None:
    row = payment(S.UNKNOWN)

    await take_step(row, Step(status), ctx)
    await take_step(row, Step(status), ctx)

    assert [(delay_s, step.reason) for delay_s, step in ctx.timers] == [(3_600, "last")]


def test_a_refused_payment_that_somebody_has_cancelled_meanwhile_has_ended() -> None:
    refused = answered(Declined, "create_payment", verdict=Verdict.FAILED)

    assert after_create(S.CANCELING, refused) == Step(S.CANCELLED_BY_US)
    assert after_create(S.CANCELING, Unknown("no answer")) == Step(S.CANCELING)


async def test_a_payment_whose_look_never_came_is_found_by_the_doctor() -> None:
    engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
    api: Any = SimpleNamespace(clock=SimpleNamespace(now=lambda: NOW), reading=lambda: AsyncSession(engine))
    long_ago, soon = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    rows = [(S.CREATED, long_ago), (S.CREATED, soon), (S.COMPLETED, None), (S.EXPIRED, long_ago)]
    async with engine.begin() as conn:
        await conn.run_sync(PayPayPayment.metadata.create_all)
    async with AsyncSession(engine) as session:
        for number, (status, at) in enumerate(rows):
            ids = {"merchant_payment_id": f"pay-{number}", "idempotency_key": str(number), "kind": "code"}
            session.add(payment(status, next_look_at=at, created_at=NOW, updated_at=NOW, **ids))
        await session.commit()

    found = await payments_late(api)

    assert (found.ok, found.detail.split(" wait")[0]) == (False, "1")
    await engine.dispose()
