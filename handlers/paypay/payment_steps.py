"""Taking a step of a payment: its new state, and everything that follows in the books, by message and at PayPay.

``payment_states.py`` decides, this does it, ``payments.py`` calls, ``payment_money.py`` keeps the books. Source:
docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

from sqlalchemy import func, select

from handlers.paypay.payment_money import Result, book, book_refund, end_promise, hold, promise, tell, undo
from handlers.paypay.payment_parts import Part, close_open_parts, open_part, revert_again_key
from handlers.paypay.payment_states import after_window, is_cancel_in_time
from handlers.paypay.payment_troubles import SETTLED_BY_A_STATE, ask_person, close_troubles
from handlers.paypay.payment_words import UNPAID, Act, PaymentStatus, Step, Trouble
from handlers.paypay.sessions import settings_of
from handlers.paypay.tables_payments import (
    DONE,
    OPEN_PARTS,
    REFUSED,
    SENT_NEW,
    PayPayCapture,
    PayPayCode,
    PayPayPayment,
    PayPayRefund,
    PayPayRevert,
)
from schemas.paypay import Operation, PaymentStep, StepReason

if TYPE_CHECKING:
    from hub.deliver.context import Context

S: Final = PaymentStatus
STEP: Final = "paypay.payment.step"
RESULT_OF: Final[Mapping[PaymentStatus, Result]] = {
    S.FAILED: "failed",
    S.REJECTED: "failed",
    S.CANCELED: "canceled",
    S.CANCELLED_BY_US: "canceled",
    S.EXPIRED: "expired",
}
LOOKS_S: Final = (1.0, 9.0, 15.0, 15.0, 20.0)
"""When an unknown payment is read: five times within a minute."""
LATER_LOOKS_S: Final = ((60, 60.0), (120, 600.0))
"""And then: so long as fewer reads were made, so often; then every hour."""
HOURLY_S: Final = 3_600.0
CANCELS_S: Final = (0.0, 5.0, 15.0, 60.0, 300.0)
REFUND_LOOKS_S: Final = (4.0, 8.0, 30.0, 120.0, 600.0)
AUTHORIZED_POLL_S: Final = 60.0
EXPIRY_SLACK: Final = timedelta(seconds=60)
UNDATED_LOOK_S: Final = 21_600.0
"""How often an authorization is read whose end PayPay has not told."""
LAST_LOOK_S: Final = 3_600.0
"""After an end without money PayPay is asked once more: what was still on its way there may have arrived."""
CLOCKS: Final = timedelta(seconds=0.5)
"""How far the clocks of two processes may be apart."""
PAUSE_S: Final = 60.0
"""Before something is tried under a new id."""
ATTEMPTS_MAX: Final = 4
REFUND_REASON: Final = "cancelled"
REFUND_KEY: Final = "of the hub"
"""No key that a shop may give is like this one."""


async def ask(
    row: PayPayPayment,
    operation: Operation,
    ctx: Context,
    *,
    part: UUID | None = None,
    delay_s: float = 0.0,
    reason: StepReason = "asked",
    tries: int = 0,
) -> None:
    """Send an operation on its way, now or later. Those of one payment go one after the other."""
    due = None
    if operation == "details" and reason == "timer":
        due = ctx.now + timedelta(seconds=delay_s)
        if row.next_look_at is not None and ctx.now < row.next_look_at <= due:
            # A look comes before this one would, and sets the next.
            return
        row.next_look_at = due
    step = PaymentStep(payment_id=row.id, operation=operation, part=part, reason=reason, tries=tries, due=due)
    if delay_s > 0:
        await ctx.after(delay_s, STEP, step, key=str(row.id))
    else:
        await ctx.emit(STEP, step, key=str(row.id))


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
    return Step(S.CANCELING, (Act.CANCEL,)) if in_time else after_window(S.CANCELING)


async def take_step(
    row: PayPayPayment,
    step: Step,
    ctx: Context,
    *,
    part: Part | None = None,
    reason: str = "",
    amount_jpy: int | None = None,
    is_timed: bool = True,
) -> None:
    """Take the step. A look that a notification asked for (not ``is_timed``) sets no timer where nothing changes.

    ``amount_jpy`` is what PayPay says was taken, or given back: booked so, and for a person where it is not what was
    asked for.
    """
    before = row.state
    is_new = step.status is not before
    row.status, row.updated_at = step.status, ctx.now
    ctx.conclude(step.status.lower())
    if is_new:
        start_reads(row, ctx)
        await _entered(row, before, reason, ctx)
    for act in step.acts:
        await _do(act, row, part, ctx, amount_jpy=amount_jpy, is_timed=is_timed or is_new)
    if is_new:
        _close_settled(row, ctx)
    if Act.PERSON in step.acts:
        assert step.trouble is not None, "who asks a person says why"
        if is_new and step.status is S.MANUAL:
            # It has come to this anew, whatever became of the review before.
            close_troubles(row, "it has happened again", ctx, only=[step.trouble])
        ask_person(row, step.trouble, ctx, part_id=part.id if part is not None else None)


def start_reads(row: PayPayPayment, ctx: Context) -> None:
    """From here on reads count."""
    row.reads = row.absent_reads = row.unpaid_reads = 0
    row.reads_since = ctx.now


async def _entered(row: PayPayPayment, before: PaymentStatus, reason: str, ctx: Context) -> None:
    if row.state is S.AUTHORIZED:
        is_first = row.authorized_at is None
        await promise(row, ctx)
        await look_at_expiry(row, ctx)
        if is_first:
            await tell(row, "authorized", row.amount_jpy, reason, ctx)
    if row.state.is_final or row.state is S.COMPLETED:
        await end_promise(row, ctx)
    if row.state.is_final and not before.is_final:
        row.ended_at = ctx.now
        await close_open_parts(row, ctx)
    elif not row.state.is_final:
        row.ended_at = None
    if row.state in UNPAID:
        lost_jpy = row.captured_jpy
        await undo(row, "PayPay has cancelled it", ctx)
        await tell(row, RESULT_OF[row.state], lost_jpy or row.amount_jpy, reason, ctx)
        await ask(row, "details", ctx, delay_s=LAST_LOOK_S, reason="last")


def _close_settled(row: PayPayPayment, ctx: Context) -> None:
    """Close what a person was to look at and what the new state settles: only once the money is where it belongs."""
    note = f"PayPay has decided: {row.status}"
    if row.state.is_final and (row.captured_jpy or 0) == row.refunded_jpy:
        close_troubles(row, note, ctx)
    elif row.state in (S.CREATED, S.AUTHORIZED) or (row.state is S.COMPLETED and row.booked_as is not None):
        close_troubles(row, note, ctx, only=SETTLED_BY_A_STATE)


async def _do(
    act: Act,
    row: PayPayPayment,
    part: Part | None,
    ctx: Context,
    *,
    amount_jpy: int | None,
    is_timed: bool,
) -> None:
    """Whatever an act asks for."""
    match act:
        case Act.BOOK:
            wanted_jpy = part.amount_jpy if isinstance(part, PayPayCapture) else None
            await book(row, amount_jpy or wanted_jpy or row.amount_jpy, ctx, wanted_jpy=wanted_jpy)
        case Act.HOLD:
            await hold(row, amount_jpy or row.amount_jpy, ctx)
        case Act.POLL | Act.LOOK:
            if is_timed:
                await ask(row, "details", ctx, delay_s=_look_s(act, row, ctx), reason="timer")
        case Act.DELETE_CODE | Act.CANCEL:
            # One try, or a look that leads to it, is on its way already where somebody only asked for a look.
            if is_timed:
                operation: Operation = "cancel" if act is Act.CANCEL else "delete_code"
                await ask(row, operation, ctx, delay_s=nth(CANCELS_S, row.cancels))
        case Act.REVERT:
            await _revert(row, ctx)
        case Act.CAPTURE_AGAIN if isinstance(part, PayPayCapture):
            await again(row, part, "capture", ctx)
        case Act.PERSON | Act.REVERT_AGAIN:
            # A person is asked at the end of the step; a revert once the details have said how it stands.
            pass
        case _:
            await _do_refund(act, row, part, ctx, amount_jpy=amount_jpy)


async def _do_refund(
    act: Act,
    row: PayPayPayment,
    part: Part | None,
    ctx: Context,
    *,
    amount_jpy: int | None,
) -> None:
    """Whatever an act asks for that is about giving back."""
    if act is Act.REFUND:
        await hold(row, amount_jpy or row.amount_jpy, ctx)
        await _refund_all(row, ctx)
        return
    assert isinstance(part, PayPayRefund), "the act of a refund names the refund"
    match act:
        case Act.BOOK_REFUND:
            await book_refund(row, part, amount_jpy, ctx)
        case Act.REFUND_LOOK:
            await ask(row, "refund_details", ctx, part=part.id, delay_s=nth(REFUND_LOOKS_S, part.looks))
        case Act.REFUND_SAME:
            part.status = SENT_NEW
            await ask(row, "refund", ctx, part=part.id, delay_s=PAUSE_S)
        case Act.REFUND_AGAIN:
            await again(row, part, "refund", ctx)
        case _:
            raise AssertionError(act)


async def again(
    row: PayPayPayment, part: PayPayCapture | PayPayRefund, operation: Literal["capture", "refund"], ctx: Context
) -> None:
    """The same money under a new id: the old one has failed for good, or must not be repeated."""
    if part.attempts + 1 >= ATTEMPTS_MAX:
        part.status = REFUSED
        trouble = Trouble.CAPTURE_REFUSED if operation == "capture" else Trouble.REFUND_REFUSED
        ask_person(row, trouble, ctx, part_id=part.id)
        return
    part.attempts, part.status = part.attempts + 1, SENT_NEW
    name = ctx.new_id().hex
    if isinstance(part, PayPayCapture):
        part.merchant_capture_id = f"cap-{name}"
    else:
        part.merchant_refund_id, part.doubt, part.looks = f"rf-{name}", None, 0
    await ask(row, operation, ctx, part=part.id, delay_s=PAUSE_S)


async def look_at_expiry(row: PayPayPayment, ctx: Context) -> None:
    """Read an authorization when it should have ended, and until PayPay says that it has."""
    if row.expires_at is None:
        delay_s = UNDATED_LOOK_S
    elif row.expires_at + EXPIRY_SLACK <= ctx.now:
        delay_s = HOURLY_S
    else:
        # A timer has its bounds, and an end years away comes all the same: one look a month is enough until then.
        delay_s = min((row.expires_at + EXPIRY_SLACK - ctx.now).total_seconds(), 30 * 86_400.0)
    await ask(row, "details", ctx, delay_s=delay_s, reason="timer")


async def _refund_all(row: PayPayPayment, ctx: Context) -> None:
    """What was to be cancelled and cannot be any more is given back, by one refund at a time."""
    of_this = PayPayRefund.payment_id == row.id
    is_open = select(PayPayRefund.id).where(of_this, PayPayRefund.status.in_(OPEN_PARTS)).limit(1)
    left_jpy = (row.captured_jpy or 0) - row.refunded_jpy
    if not left_jpy or await ctx.session.scalar(is_open) is not None:
        return
    if row.paypay_payment_id is None:
        ask_person(row, Trouble.REFUND_REFUSED, ctx)
        return
    made = await ctx.session.scalar(select(func.count()).select_from(PayPayRefund).where(of_this)) or 0
    await wants_refund(row, left_jpy, REFUND_REASON, f"{REFUND_KEY} {made + 1}", ctx)


async def _revert(row: PayPayPayment, ctx: Context) -> None:
    """An authorization that cannot be cancelled any more is given up; what is under way already is waited for."""
    reverts = (await ctx.session.scalars(select(PayPayRevert).where(PayPayRevert.payment_id == row.id))).all()
    if any(one.status in (*OPEN_PARTS, DONE) for one in reverts):
        await ask(row, "details", ctx, delay_s=AUTHORIZED_POLL_S, reason="timer")
    elif reverts or row.paypay_payment_id is None:
        ask_person(row, Trouble.REVERT_REFUSED, ctx)
        await ask(row, "details", ctx, delay_s=HOURLY_S, reason="timer")
    else:
        await wants_revert(row, REFUND_REASON, ctx)


async def wants_revert(row: PayPayPayment, reason: str | None, ctx: Context) -> None:
    """An authorization is given up, under an id of its own."""
    part_id = ctx.new_id()
    revert = PayPayRevert(merchant_revert_id=f"rvt-{part_id.hex}", reason=reason)
    open_part(revert, part_id, row.id, await revert_again_key(row, ctx), ctx)
    await ask(row, "revert", ctx, part=part_id)


def is_superseded(row: PayPayPayment, due: datetime | None, ctx: Context) -> bool:
    """Whether this timer, which was ``due`` then, was set before another one that is still to come.

    The one that the row waits for never is, however far the clock here is behind the one that let it go: nothing else
    would ever look at the payment.
    """
    awaited = row.next_look_at
    return awaited is not None and awaited != due and ctx.now < awaited - CLOCKS


def nth(waits_s: tuple[float, ...], number: int) -> float:
    """The wait before the try after so many."""
    return waits_s[min(number, len(waits_s) - 1)]


def _look_s(act: Act, row: PayPayPayment, ctx: Context) -> float:
    if row.state is S.CREATED:
        return float(settings_of(ctx).poll_s)
    if act is Act.POLL and row.state is S.AUTHORIZED:
        return AUTHORIZED_POLL_S
    if row.reads < len(LOOKS_S):
        return LOOKS_S[row.reads]
    return next((wait_s for below, wait_s in LATER_LOOKS_S if row.reads < below), HOURLY_S)
