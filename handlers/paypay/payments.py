"""Asking PayPay about payments: one handler, one operation at a time for each payment.

Every operation carries the id that was written down before it left. What is cut off is never sent again by itself: the
payment's details say what became of it. Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, assert_never

from handlers.paypay.cashback import never_sent_again
from handlers.paypay.client import CALL_S, paypay
from handlers.paypay.outcomes import Outcome, Settled, Unknown
from handlers.paypay.payment_looks import after_look, step_after_look, with_overdue
from handlers.paypay.payment_money import state_of_money
from handlers.paypay.payment_notes import note, note_code, note_part, said, taken_jpy
from handlers.paypay.payment_requests import Work, request_of, work_of
from handlers.paypay.payment_states import (
    after_cancel,
    after_capture,
    after_create,
    after_deletion,
    after_refund,
    after_refund_details,
    after_revert,
    after_window,
    is_cancel_in_time,
)
from handlers.paypay.payment_steps import ask, is_superseded, nth, start_reads, take_step
from handlers.paypay.payment_troubles import ask_person
from handlers.paypay.payment_words import Act, PaymentStatus, Step, Trouble
from handlers.paypay.progress import looking, rest_if_down
from handlers.paypay.sessions import settings_of
from handlers.paypay.tables_payments import (
    CLOSED_PARTS,
    REFUSED,
    REFUSED_IN_DOUBT,
    PayPayPayment,
    PayPayRefund,
)
from hub.capability import calls
from hub.flow.priority import Priority
from schemas.paypay import PaymentStep

if TYPE_CHECKING:
    from hub.deliver.context import Context

S: Final = PaymentStatus
APPLIES: Final[Mapping[str, frozenset[PaymentStatus]]] = {
    "create": frozenset({S.NEW}),
    "delete_code": frozenset({S.CANCELING}),
    "cancel": frozenset({S.CANCELING}),
    "capture": frozenset({S.AUTHORIZED}),
    "revert": frozenset({S.AUTHORIZED, S.REFUND_NEEDED}),
    "refund": frozenset({S.COMPLETED, S.REFUND_NEEDED, S.REFUNDED, S.MANUAL}),
    "refund_details": frozenset({S.REFUND_UNKNOWN, S.REFUND_ACCEPTED}),
}
"""The states in which an operation still makes sense; details are read in all of them."""
UNTIMED: Final = ("notified", "operator", "last")
"""Looks beside the timers of a payment: they set none where they change nothing, and are taken of an end, too."""
PRIORITY: Final = {"notified": Priority.READ, "operator": Priority.READ}
HINT_TRIES_S: Final = (60.0, 300.0, 1_800.0, 3_600.0)
HINT_TRIES_MAX: Final = 24
"""A look that was asked for and that PayPay did not answer is taken again, for about a day."""


@calls("paypay", priority=Priority.MONEY)
async def run_step(step: PaymentStep, ctx: Context) -> None:
    """Ask PayPay one thing about a payment, and do what its answer means.

    Raises: PayPayBusyError and its neighbours, when nothing reached PayPay; the same is asked again.
    """
    async with ctx.reading() as session:
        work = await work_of(session, step, is_locked=False)
    if not _applies(step, work, ctx):
        ctx.conclude("decided_before")
        return
    if _instead(step, work, ctx) is not None:
        await ctx.begin()
        work = await work_of(ctx.session, step, is_locked=True)
        await take_step(work.payment, _instead(step, work, ctx) or Step(work.payment.state), ctx)
        return
    outcome = await _call(step, work, ctx)
    await rest_if_down(outcome, ctx)

    await ctx.begin()
    work = await work_of(ctx.session, step, is_locked=True)
    await _learn(step, work, outcome, ctx)


async def _learn(step: PaymentStep, work: Work, outcome: Outcome, ctx: Context) -> None:
    """Write down what PayPay said, and take the step that it leads to."""
    row, part = work.payment, work.part
    ctx.tag("merchant_payment_id", row.merchant_payment_id)
    note(row, outcome, ctx)
    is_timed = step.reason not in UNTIMED
    if step.operation == "details" and is_timed:
        row.next_look_at = None
    follow = with_overdue(row, _followed(step, work, outcome, ctx), ctx)
    note_part(step.operation, part, outcome, ctx)
    if step.operation == "refund_details" and follow.trouble is Trouble.REFUND_REFUSED:
        _refund_of(work).status = REFUSED
    is_unbooked, amount_jpy = row.booked_as is None, taken_jpy(said(outcome))
    await take_step(
        row,
        follow,
        ctx,
        part=part,
        reason=getattr(outcome, "reason", ""),
        amount_jpy=amount_jpy,
        is_timed=is_timed,
    )
    if is_unbooked and row.booked_as is not None and amount_jpy is None:
        ask_person(row, Trouble.AMOUNT_UNREAD, ctx)
    if step.operation == "details":
        await after_look(row, outcome, ctx, is_timed=is_timed)
        if not is_timed and isinstance(outcome, Unknown) and step.tries < HINT_TRIES_MAX:
            wait_s = nth(HINT_TRIES_S, step.tries)
            await ask(row, "details", ctx, delay_s=wait_s, reason=step.reason, tries=step.tries + 1)


def _applies(step: PaymentStep, work: Work, ctx: Context) -> bool:
    row = work.payment
    if step.operation == "details":
        if step.reason == "timer" and is_superseded(row, step.due, ctx):
            return False
        # What PayPay tells of an end may be that it was none.
        return not row.state.is_final or step.reason in UNTIMED
    return row.state in APPLIES[step.operation] and (work.part is None or work.part.status not in CLOSED_PARTS)


def _instead(step: PaymentStep, work: Work, ctx: Context) -> Step | None:
    """What is done instead of a cancel: a code that can be paid is switched off first; after the window it is late."""
    row = work.payment
    if step.operation != "cancel" or row.state is not S.CANCELING:
        return None
    if work.is_code_on:
        return Step(S.CANCELING, (Act.DELETE_CODE,))
    return None if _is_in_time(row, ctx) else after_window(row.state)


async def _call(step: PaymentStep, work: Work, ctx: Context) -> Outcome:
    send, request, key = request_of(step.operation, work, paypay(ctx))
    is_read = step.operation in ("details", "refund_details")
    read = looking(send)
    return await ctx.call(
        step.operation,
        read if is_read else send,
        request,
        key=key,
        lookup=None if is_read else never_sent_again,
        timeout_s=CALL_S,
        priority=PRIORITY.get(step.reason, Priority.POLL) if is_read else Priority.MONEY,
        is_read=is_read,
    )


def _followed(step: PaymentStep, work: Work, outcome: Outcome, ctx: Context) -> Step:
    """The step that an answer leads to."""
    row = work.payment
    match step.operation:
        case "create":
            note_code(work, outcome)
            return after_create(row.state, outcome)
        case "details":
            return step_after_look(work, outcome, ctx)
        case "delete_code":
            row.cancels += 1
            if work.code is not None and isinstance(outcome, Settled):
                # What was read while it could be paid says nothing of its end.
                work.code.deleted_at = ctx.now
                start_reads(row, ctx)
            return after_deletion(row.state, outcome)
        case "cancel":
            row.cancels += 1
            return after_cancel(row.state, outcome, is_in_time=_is_in_time(row, ctx))
        case "capture":
            return after_capture(row.state, outcome)
        case "revert":
            return after_revert(row.state, outcome)
        case "refund":
            part = _refund_of(work)
            return _back(row, after_refund(row.state, outcome, is_in_doubt=part.doubt is not None))
        case "refund_details":
            part = _refund_of(work)
            part.looks += 1
            was_refused = part.doubt == REFUSED_IN_DOUBT
            return _back(row, after_refund_details(row.state, outcome, looks=part.looks, was_refused=was_refused))
        case _:
            assert_never(step.operation)


def _refund_of(work: Work) -> PayPayRefund:
    assert isinstance(work.part, PayPayRefund), "a refund's operation names the refund"
    return work.part


def _back(row: PayPayPayment, step: Step) -> Step:
    """A refund that did not happen leaves the payment where its money was before."""
    is_back = step.status is S.COMPLETED
    return Step(state_of_money(row), step.acts, step.trouble) if is_back else step


def _is_in_time(row: PayPayPayment, ctx: Context) -> bool:
    return is_cancel_in_time(row.paid_at or row.requested_at, ctx.now, settings_of(ctx).zone)
