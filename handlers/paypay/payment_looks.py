"""What a look at a payment means: how many agree, and what becomes of a capture or revert that was in doubt.

Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from handlers.paypay.outcomes import Facts, Outcome, Unknown
from handlers.paypay.payment_parts import CONFIRMATION
from handlers.paypay.payment_requests import Work
from handlers.paypay.payment_states import after_details, after_expiry, after_poll_end, says_absent, says_unpaid
from handlers.paypay.payment_steps import AUTHORIZED_POLL_S, again, ask, look_at_expiry
from handlers.paypay.payment_troubles import ask_person
from handlers.paypay.payment_words import Act, Known, PaymentStatus, Reads, Step, Trouble
from handlers.paypay.tables_payments import (
    DONE,
    OPEN_PARTS,
    REFUSED,
    SENT_NEW,
    UNKNOWN,
    PayPayCapture,
    PayPayPayment,
    PayPayRevert,
)

if TYPE_CHECKING:
    from hub.deliver.context import Context

S: Final = PaymentStatus
SAME_ID_S: Final = 5.0
DAY: Final = timedelta(days=1)
UNDECIDED: Final = frozenset({S.UNKNOWN, S.CANCELING, S.CANCEL_ACCEPTED, S.REFUND_NEEDED})
REFUND_UNDECIDED: Final = frozenset({S.REFUND_UNKNOWN, S.REFUND_ACCEPTED})


def step_after_look(work: Work, outcome: Outcome, ctx: Context) -> Step:
    """The step that a look leads to, and what the row remembers of it."""
    row = work.payment
    reads = _count(row, outcome, ctx)
    is_switched_off = work.is_switched_off(ctx.now)
    if work.is_expiring:
        return after_expiry(outcome, reads, is_switched_off=is_switched_off)
    known = Known(
        has_code=work.has_code,
        is_switched_off=is_switched_off,
        booked_as=row.booked_as,
        is_unwanted=row.is_unwanted,
    )
    follow = after_details(row.state, outcome, reads, known)
    if follow.status is S.CREATED and ctx.now >= row.poll_until:
        return after_poll_end(S.CREATED, has_code=work.has_code)
    return follow


def with_overdue(row: PayPayPayment, step: Step, ctx: Context) -> Step:
    """The step, and a person besides where PayPay has left a payment or a refund undecided for a day."""
    since = row.reads_since
    if step.status is not row.state or Act.PERSON in step.acts or since is None or ctx.now - since < DAY:
        return step
    is_unbooked = row.state is S.COMPLETED and row.booked_as is None
    if row.state in UNDECIDED or is_unbooked:
        return replace(step, acts=(*step.acts, Act.PERSON), trouble=Trouble.UNDECIDED)
    if row.state in REFUND_UNDECIDED:
        return replace(step, acts=(*step.acts, Act.PERSON), trouble=Trouble.REFUND_UNDECIDED)
    return step


async def after_look(row: PayPayPayment, outcome: Outcome, ctx: Context, *, is_timed: bool) -> None:
    """What a look that PayPay answered says about a capture or revert, and when the next one is."""
    if isinstance(outcome, Unknown) or not Facts.of(outcome).status:
        return
    await _settle_captures(row, ctx, is_timed=is_timed)
    await _settle_reverts(row, Facts.of(outcome).status, ctx, is_timed=is_timed)
    if row.state is S.AUTHORIZED and is_timed:
        await look_at_expiry(row, ctx)


async def _settle_captures(row: PayPayPayment, ctx: Context, *, is_timed: bool) -> None:
    open_ones = select(PayPayCapture).where(PayPayCapture.payment_id == row.id, PayPayCapture.status.in_(OPEN_PARTS))
    for capture in (await ctx.session.scalars(open_ones)).all():
        if row.state is not S.AUTHORIZED:
            capture.status, capture.done_at = (DONE if row.state.is_paid else REFUSED), ctx.now
        elif capture.status == SENT_NEW:
            # It is on its way.
            continue
        elif capture.status == UNKNOWN:
            # It is authorized still, so that one has not happened.
            await again(row, capture, "capture", ctx)
        elif ctx.now - capture.requested_at < CONFIRMATION:
            if is_timed:
                await ask(row, "details", ctx, delay_s=AUTHORIZED_POLL_S, reason="timer")
        else:
            capture.status = REFUSED
            ask_person(row, Trouble.CAPTURE_UNCONFIRMED, ctx, part_id=capture.id)


async def _settle_reverts(row: PayPayPayment, status: str, ctx: Context, *, is_timed: bool) -> None:
    open_ones = select(PayPayRevert).where(PayPayRevert.payment_id == row.id, PayPayRevert.status.in_(OPEN_PARTS))
    for revert in (await ctx.session.scalars(open_ones)).all():
        if row.state not in (S.AUTHORIZED, S.REFUND_NEEDED):
            revert.status, revert.done_at = (DONE if row.state is S.CANCELED else REFUSED), ctx.now
        elif status != "AUTHORIZED" or revert.status == SENT_NEW:
            continue
        elif revert.status == UNKNOWN:
            # Under its own id PayPay gives it up once, however often it is asked.
            revert.status = SENT_NEW
            await ask(row, "revert", ctx, part=revert.id, delay_s=SAME_ID_S)
        elif is_timed:
            await ask(row, "details", ctx, delay_s=AUTHORIZED_POLL_S, reason="timer")


def _count(row: PayPayPayment, outcome: Outcome, ctx: Context) -> Reads:
    row.reads += 1
    row.absent_reads = row.absent_reads + 1 if says_absent(outcome) else 0
    if says_unpaid(outcome):
        row.unpaid_reads += 1
    elif not isinstance(outcome, Unknown):
        row.unpaid_reads = 0
    row.reads_since = row.reads_since or ctx.now
    return Reads(
        count=row.reads,
        absent_in_a_row=row.absent_reads,
        unpaid_in_a_row=row.unpaid_reads,
        since=ctx.now - row.reads_since,
    )
