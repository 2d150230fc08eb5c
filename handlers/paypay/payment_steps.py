"""Taking a step of a payment: its new state, and everything that follows in the books, by message and at PayPay.

``payment_states.py`` decides, this does it, ``payments.py`` calls. Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import select

from handlers.paypay.payment_books import (
    authorization_reference,
    given_back,
    payment_reference,
    promised,
    refund_reference,
    taken,
)
from handlers.paypay.payment_states import Act, PaymentStatus, Step, after_window, is_cancel_in_time
from handlers.paypay.sessions import settings_of
from handlers.paypay.tables_payments import (
    DONE,
    PENDING,
    REFUSED,
    SENT_NEW,
    UNKNOWN,
    PayPayCapture,
    PayPayCode,
    PayPayPayment,
    PayPayRefund,
    PayPayRevert,
)
from schemas.paypay import Operation, PaymentResult, PaymentStep

if TYPE_CHECKING:
    from hub.deliver.context import Context

S: Final = PaymentStatus
STEP: Final = "paypay.payment.step"
Result: TypeAlias = Literal["authorized", "completed", "failed", "canceled", "expired", "refunded"]
RESULT_OF: Final[Mapping[PaymentStatus, Result]] = {
    S.FAILED: "failed",
    S.REJECTED: "failed",
    S.CANCELED: "canceled",
    S.CANCELLED_BY_US: "canceled",
    S.EXPIRED: "expired",
}
LOOKS_S: Final = (1.0, 9.0, 15.0, 15.0, 20.0)
"""When an unknown payment is read: five times within a minute."""
LATER_LOOK_S: Final = 60.0
CANCELS_S: Final = (0.0, 5.0, 15.0, 60.0, 300.0)
REFUND_LOOKS_S: Final = (4.0, 8.0, 30.0, 120.0, 600.0)
AUTHORIZED_POLL_S: Final = 60.0
CONFIRMATION: Final = timedelta(hours=6)
"""How long PayPay waits for a user who must confirm a capture."""
EXPIRY_SLACK: Final = timedelta(seconds=60)
EXPIRED_LOOK_S: Final = 3_600.0
CLOCKS: Final = timedelta(seconds=0.5)
"""How far the clocks of two processes may be apart."""
PAUSE_S: Final = 60.0
"""Before something is tried under a new id."""
SAME_ID_S: Final = 5.0
ATTEMPTS_MAX: Final = 4
REFUND_REASON: Final = "cancelled"
REFUND_KEY: Final = "cancelled"
WORDS: Final = "PayPay's answer needs a person: look the payment up at PayPay, then decide"


async def ask(
    row: PayPayPayment,
    operation: Operation,
    ctx: Context,
    *,
    part: UUID | None = None,
    delay_s: float = 0.0,
    reason: Literal["asked", "timer", "notified"] = "asked",
) -> None:
    """Send an operation on its way, now or later. Those of one payment go one after the other."""
    step = PaymentStep(payment_id=row.id, operation=operation, part=part, reason=reason)
    if operation == "details" and reason == "timer":
        # The last timer that was set is the one that counts: see ``is_superseded``.
        row.next_look_at = ctx.now + timedelta(seconds=delay_s)
    if delay_s > 0:
        await ctx.after(delay_s, STEP, step, key=str(row.id))
    else:
        await ctx.emit(STEP, step, key=str(row.id))


def open_part(
    part: PayPayCapture | PayPayRevert | PayPayRefund, part_id: UUID, payment_id: UUID, key: str, ctx: Context
) -> None:
    """A capture, revert or refund begins."""
    part.id, part.payment_id, part.idempotency_key = part_id, payment_id, key
    part.status, part.attempts, part.looks, part.requested_at = SENT_NEW, 0, 0, ctx.now
    ctx.session.add(part)


async def wants_refund(row: PayPayPayment, amount_jpy: int, reason: str, key: str, ctx: Context) -> PayPayRefund:
    """A refund begins, under an id of its own."""
    part_id = ctx.new_id()
    refund = PayPayRefund(merchant_refund_id=f"rf-{part_id.hex}", amount_jpy=amount_jpy, reason=reason)
    open_part(refund, part_id, row.id, key, ctx)
    await ask(row, "refund", ctx, part=part_id)
    return refund


async def next_step(row: PayPayPayment, ctx: Context) -> Step:
    """What is done first with a payment that somebody wants to be undone."""
    code = await ctx.session.get(PayPayCode, row.id)
    if row.state in (S.UNKNOWN, S.CREATED):
        can_delete = code is not None and code.code_id is not None
        return Step(S.CANCELING, (Act.DELETE_CODE,) if can_delete else (Act.CANCEL,))
    in_time = is_cancel_in_time(row.paid_at or row.requested_at, ctx.now, settings_of(ctx).zone)
    if row.state is S.COMPLETED and not in_time:
        return after_window(S.CANCELING)
    return Step(S.CANCELING, (Act.CANCEL,))


async def take_step(
    row: PayPayPayment,
    step: Step,
    ctx: Context,
    *,
    part: PayPayCapture | PayPayRevert | PayPayRefund | None = None,
    reason: str = "",
    amount_jpy: int | None = None,
    is_timed: bool = True,
) -> None:
    """Take the step. A look that a notification asked for (not ``is_timed``) sets no timer.

    ``amount_jpy`` is what PayPay says was taken: booked so, and for a person where it is not what was asked for.
    """
    before = row.state
    row.status, row.updated_at = step.status, ctx.now
    ctx.conclude(step.status.lower())
    if step.status is not before:
        row.reads = row.absent_reads = 0
        row.reads_since = ctx.now
        await _entered(row, before, reason, ctx)
    for act in step.acts:
        await _do(act, row, part, ctx, amount_jpy=amount_jpy, is_timed=is_timed)
    if step.status.is_final and row.review_event_id is not None and Act.PERSON not in step.acts:
        ctx.resolve_review(row.review_event_id, f"PayPay has decided: {step.status}")
        row.review_event_id = None


async def _entered(row: PayPayPayment, before: PaymentStatus, reason: str, ctx: Context) -> None:
    if row.state is S.AUTHORIZED:
        row.authorized_at = row.authorized_at or ctx.now
        if await ctx.ledger.find(authorization_reference(row.id)) is None:
            await ctx.ledger.post(authorization_reference(row.id), "authorization", [promised(row.amount_jpy)])
        if row.expires_at is not None:
            wait_s = max(0.0, (row.expires_at + EXPIRY_SLACK - ctx.now).total_seconds())
            await ask(row, "details", ctx, delay_s=wait_s or LATER_LOOK_S, reason="timer")
        await _tell(row, "authorized", row.amount_jpy, reason, ctx)
    if row.state.is_final or row.state is S.COMPLETED:
        await _end_authorization(row, ctx)
    if row.state is S.CANCELLED_BY_US and row.captured_jpy is not None and not row.refunded_jpy:
        original = payment_reference(row.id)
        await ctx.ledger.reverse(original, reference=f"{original}:undone", note="cancelled at PayPay")
    if row.state.is_final and not before.is_final:
        row.ended_at = ctx.now
    if row.state in RESULT_OF:
        await _tell(row, RESULT_OF[row.state], row.captured_jpy or row.amount_jpy, reason, ctx)


async def _end_authorization(row: PayPayPayment, ctx: Context) -> None:
    original = authorization_reference(row.id)
    ended = f"{original}:ended"
    if row.authorized_at is not None and await ctx.ledger.find(ended) is None:
        await ctx.ledger.reverse(original, reference=ended)


async def _do(
    act: Act,
    row: PayPayPayment,
    part: PayPayCapture | PayPayRevert | PayPayRefund | None,
    ctx: Context,
    *,
    amount_jpy: int | None,
    is_timed: bool,
) -> None:
    """Whatever an act asks for."""
    match act:
        case Act.BOOK:
            await book(row, amount_jpy or row.amount_jpy, ctx)
        case Act.POLL | Act.LOOK:
            if is_timed:
                await ask(row, "details", ctx, delay_s=await _look_s(act, row, ctx), reason="timer")
        case Act.DELETE_CODE:
            await ask(row, "delete_code", ctx, delay_s=_nth(CANCELS_S, row.cancels))
        case Act.CANCEL:
            await ask(row, "cancel", ctx, delay_s=_nth(CANCELS_S, row.cancels))
        case Act.CAPTURE_AGAIN if isinstance(part, PayPayCapture):
            await _again(row, part, "capture", ctx)
        case Act.PERSON:
            _ask_person(row, WORDS, ctx)
        case Act.REVERT_AGAIN:
            # What the details say decides: see ``after_look``.
            pass
        case _:
            await _do_refund(act, row, part, ctx, amount_jpy=amount_jpy)


async def _do_refund(
    act: Act,
    row: PayPayPayment,
    part: PayPayCapture | PayPayRevert | PayPayRefund | None,
    ctx: Context,
    *,
    amount_jpy: int | None,
) -> None:
    """Whatever an act asks for that is about giving back."""
    if act is Act.REFUND:
        await book(row, amount_jpy or row.amount_jpy, ctx)
        await _refund_all(row, ctx)
        return
    assert isinstance(part, PayPayRefund), "the act of a refund names the refund"
    match act:
        case Act.BOOK_REFUND:
            await _book_refund(row, part, ctx)
        case Act.REFUND_LOOK:
            await ask(row, "refund_details", ctx, part=part.id, delay_s=_nth(REFUND_LOOKS_S, part.looks))
        case Act.REFUND_SAME:
            part.status = SENT_NEW
            await ask(row, "refund", ctx, part=part.id, delay_s=PAUSE_S)
        case Act.REFUND_AGAIN:
            await _again(row, part, "refund", ctx)
        case _:
            raise AssertionError(act)


async def book(row: PayPayPayment, amount_jpy: int, ctx: Context) -> None:
    """The money is ours: once, whoever learns of it first."""
    if row.captured_jpy is not None:
        return
    if amount_jpy != row.amount_jpy and not row.is_authorization:
        _ask_person(row, f"PayPay took {amount_jpy} yen where {row.amount_jpy} were asked for", ctx)
    row.captured_jpy, row.completed_at = amount_jpy, ctx.now
    await ctx.ledger.post(payment_reference(row.id), "payment", [taken(amount_jpy)])
    await _end_authorization(row, ctx)
    await _tell(row, "completed", amount_jpy, "", ctx)


async def _book_refund(row: PayPayPayment, refund: PayPayRefund, ctx: Context) -> None:
    if refund.status == DONE:
        return
    await book(row, row.amount_jpy, ctx)
    refund.status, refund.done_at = DONE, ctx.now
    row.refunded_jpy += refund.amount_jpy
    await ctx.ledger.post(refund_reference(refund.id), "refund", [given_back(refund.amount_jpy)])
    await _tell(row, "refunded", refund.amount_jpy, refund.reason, ctx, refund_id=refund.id)


async def _again(
    row: PayPayPayment, part: PayPayCapture | PayPayRefund, operation: Literal["capture", "refund"], ctx: Context
) -> None:
    """The same money under a new id: the old one has failed for good, or must not be repeated."""
    if part.attempts + 1 >= ATTEMPTS_MAX:
        part.status = REFUSED
        _ask_person(row, WORDS, ctx)
        return
    part.attempts, part.status = part.attempts + 1, SENT_NEW
    name = ctx.new_id().hex
    if isinstance(part, PayPayCapture):
        part.merchant_capture_id = f"cap-{name}"
    else:
        part.merchant_refund_id = f"rf-{name}"
    await ask(row, operation, ctx, part=part.id, delay_s=PAUSE_S)


async def _refund_all(row: PayPayPayment, ctx: Context) -> None:
    """What was to be cancelled and cannot be any more is given back, once."""
    known = select(PayPayRefund.id).where(PayPayRefund.payment_id == row.id, PayPayRefund.idempotency_key == REFUND_KEY)
    left_jpy = (row.captured_jpy or 0) - row.refunded_jpy
    if left_jpy and await ctx.session.scalar(known) is None:
        await wants_refund(row, left_jpy, REFUND_REASON, REFUND_KEY, ctx)


async def after_look(row: PayPayPayment, ctx: Context) -> None:
    """What a look at an authorization or a taken payment says about the capture or revert that was in doubt."""
    captures = await ctx.session.scalars(
        select(PayPayCapture).where(PayPayCapture.payment_id == row.id, PayPayCapture.status.in_((UNKNOWN, PENDING)))
    )
    for capture in captures.all():
        if row.state is not S.AUTHORIZED:
            capture.status, capture.done_at = (DONE if row.state.is_paid else REFUSED), ctx.now
        elif capture.status == UNKNOWN:
            # It is authorized still, so that one has not happened.
            await _again(row, capture, "capture", ctx)
        elif ctx.now - capture.requested_at < CONFIRMATION:
            await ask(row, "details", ctx, delay_s=AUTHORIZED_POLL_S, reason="timer")
        else:
            capture.status = REFUSED
            _ask_person(row, "nobody has confirmed the capture within six hours", ctx)
    reverts = await ctx.session.scalars(
        select(PayPayRevert).where(PayPayRevert.payment_id == row.id, PayPayRevert.status == UNKNOWN)
    )
    for revert in reverts.all():
        if row.state is S.AUTHORIZED:
            revert.status = SENT_NEW
            await ask(row, "revert", ctx, part=revert.id, delay_s=SAME_ID_S)
        else:
            revert.status, revert.done_at = (DONE if row.state is S.CANCELED else REFUSED), ctx.now
    if row.state is S.AUTHORIZED and row.expires_at is not None and row.expires_at <= ctx.now:
        await ask(row, "details", ctx, delay_s=EXPIRED_LOOK_S, reason="timer")


def is_superseded(row: PayPayPayment, ctx: Context) -> bool:
    """Whether this timer was set before another one that is still to come."""
    return row.next_look_at is not None and ctx.now < row.next_look_at - CLOCKS


async def _look_s(act: Act, row: PayPayPayment, ctx: Context) -> float:
    if row.state is S.CREATED:
        return float(settings_of(ctx).poll_s)
    if act is Act.POLL and row.state is S.AUTHORIZED:
        return AUTHORIZED_POLL_S
    return LOOKS_S[row.reads] if row.reads < len(LOOKS_S) else LATER_LOOK_S


def _nth(waits_s: tuple[float, ...], number: int) -> float:
    return waits_s[min(number, len(waits_s) - 1)]


def _ask_person(row: PayPayPayment, words: str, ctx: Context) -> None:
    if row.review_event_id is None:
        row.review_event_id = ctx.event.id
        ctx.review("payment_needs_person", words)


async def _tell(
    row: PayPayPayment, result: Result, amount_jpy: int, reason: str, ctx: Context, *, refund_id: UUID | None = None
) -> None:
    """An internal event that the wiring publishes."""
    told = PaymentResult(
        payment_id=row.id,
        merchant_payment_id=row.merchant_payment_id,
        member_id=row.member_id,
        amount_jpy=amount_jpy,
        status=row.status,
        reason=reason,
        paypay_payment_id=row.paypay_payment_id,
        refund_id=refund_id,
        occurred_at=ctx.now,
    )
    name = f"{result}/{refund_id or row.id}"
    await ctx.emit(f"paypay.payment.{result}", told, key=str(row.id), dedupe_id=name)
