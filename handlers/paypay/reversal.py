"""Taking cashback back: an operator orders it, PayPay does it later, and the member's points come back in proportion.

How much was really taken is PayPay's word (``data.amount``). Source: docs/providers/paypay.md, "Reversals".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import select

from handlers.paypay.announcing import tell_points, tell_reversal
from handlers.paypay.books import (
    cashback_reference,
    paid,
    return_reference,
    reversal_reference,
    taken_back,
    undone_reference,
)
from handlers.paypay.cashback import CHECK, PRIORITY, again_key, never_sent_again
from handlers.paypay.client import CALL_S, paypay
from handlers.paypay.conversions import points_back
from handlers.paypay.exchanging import cashback_for_update
from handlers.paypay.members import members
from handlers.paypay.outcomes import Facts
from handlers.paypay.progress import (
    ask_person,
    close_review,
    looking,
    note_seen,
    note_sent,
    rest_if_down,
    settle,
    their_id,
    wait_s,
)
from handlers.paypay.states import Status, Step, is_confirmed, is_contradicted, next_sweep_at
from handlers.paypay.tables import PayPayCashback, PayPayReversal
from handlers.paypay.wire import ReadReversal, ReverseCashback
from hub.capability import calls, handler
from hub.errors import PermanentError, RefusedCommand
from hub.flow.priority import Priority
from schemas.paypay_exchange import CashbackCheck, ReversalCheck, ReversalOrder, ReversalReply, ReversalRequested

if TYPE_CHECKING:
    from hub.deliver.context import Context

REVERSAL_REQUESTED: Final = "paypay.reversal.requested"
REVERSAL_CHECK: Final = "paypay.reversal.check"
REVERSIBLE: Final = (Status.SUCCESS, Status.ACCEPTED, Status.UNKNOWN)
"""A cashback that may have been paid. PayPay offers a cancellation also where it has not decided."""


@handler
async def request_reversal(order: ReversalOrder, ctx: Context) -> ReversalReply:
    """Take a reversal on: its row, and the event that sends it.

    Raises RefusedCommand, and stores nothing then: NOT_FOUND, NOT_REVERSIBLE, AMOUNT_TOO_HIGH.
    """
    cashback = await cashback_for_update(ctx, order.request_id)
    if cashback is None:
        raise RefusedCommand("NOT_FOUND", "no exchange has this id")
    is_denied = is_contradicted(cashback.state, cashback.paypay_status)
    # PayPay has paid what failed here, or has not paid what succeeded.
    if (cashback.state in REVERSIBLE) is is_denied:
        raise RefusedCommand("NOT_REVERSIBLE", f"the exchange is {cashback.status}")
    # The cashback is locked: no other reversal of it is being taken on.
    left = cashback.amount_jpy - sum(map(claimed, await reversals_of(ctx, cashback.id)))
    if left <= 0:
        raise RefusedCommand("NOT_REVERSIBLE", "all of it is reversed, or about to be")
    amount_jpy = left if order.amount_jpy is None else order.amount_jpy
    if amount_jpy > left:
        raise RefusedCommand("AMOUNT_TOO_HIGH", f"{left} yen are left to be reversed")
    if is_denied and amount_jpy != left:
        raise RefusedCommand("NOT_REVERSIBLE", "the member has the points of it: all that PayPay paid, or nothing")
    reversal_id = ctx.new_id()
    row = PayPayReversal(
        id=reversal_id,
        merchant_cashback_reversal_id=f"rv-{reversal_id.hex}",
        cashback_request_id=cashback.id,
        idempotency_key=order.idempotency_key,
        requested_amount_jpy=amount_jpy,
        reversed_amount_jpy=0,
        returned_points=0,
        points_to_purchase=0,
        points_to_promotion=0,
        reason=order.reason,
        operator=order.operator,
        status=Status.NEW,
        requested_at=ctx.now,
        attempts=0,
        check_count=0,
        absent_count=0,
        next_check_at=next_sweep_at(Status.NEW, ctx.now),
        created_at=ctx.now,
        updated_at=ctx.now,
    )
    ctx.session.add(row)
    await ctx.emit(REVERSAL_REQUESTED, ReversalRequested(reversal_id=row.id), key=str(row.id))
    _tag(cashback, row, ctx)
    ctx.conclude("taken_on")
    return reversal_reply(row)


@calls("paypay")
async def reverse_cashback(requested: ReversalRequested, ctx: Context) -> None:
    """Ask PayPay to take the yen back. Running it again is safe: the id is the same.

    Raises: PayPayBusyError and its neighbours, when nothing reached PayPay; the row is NEW still.
    """
    row, cashback = await _seen(requested.reversal_id, ctx)
    if row.state is not Status.NEW:
        ctx.conclude("decided_before")
        return
    ask = ReverseCashback(
        merchant_cashback_reversal_id=row.merchant_cashback_reversal_id,
        merchant_cashback_id=cashback.merchant_cashback_id,
        amount_jpy=row.requested_amount_jpy,
        requested_at=row.requested_at,
        reason=row.reason,
    )
    outcome = await ctx.call(
        "reverse",
        paypay(ctx).reverse_cashback,
        ask,
        key=row.merchant_cashback_reversal_id,
        lookup=never_sent_again,
        timeout_s=CALL_S,
    )
    await rest_if_down(outcome, ctx)

    await ctx.begin()
    cashback, row = await _both(requested.reversal_id, cashback.id, ctx)
    before = row.state
    step = note_sent(row, outcome, ctx)
    settle(row, step, ctx)
    if step.status is Status.REJECTED and before is Status.NEW:
        ask_person(row, "reversal_refused", f"PayPay refused the reversal: {Facts.of(outcome).code}", ctx)
    await _look_later(row, ctx)


@calls("paypay", priority=Priority.POLL)
async def check_reversal(check: ReversalCheck, ctx: Context) -> None:
    """Ask PayPay how a reversal stands, and do what follows. It only reads: asked again, it does no harm."""
    row, cashback = await _seen(check.reversal_id, ctx)
    if row.state.is_final and row.next_check_at is None and check.reason in ("early", "sweep"):
        ctx.conclude("decided_before")
        return
    read = looking(paypay(ctx).read_reversal)
    outcome = await ctx.call(
        "check",
        read,
        ReadReversal(
            merchant_cashback_reversal_id=row.merchant_cashback_reversal_id,
            merchant_cashback_id=cashback.merchant_cashback_id,
        ),
        key=row.merchant_cashback_reversal_id,
        timeout_s=CALL_S,
        is_read=True,
        priority=PRIORITY[check.reason],
    )
    await rest_if_down(outcome, ctx)

    await ctx.begin()
    cashback, row = await _both(check.reversal_id, cashback.id, ctx)
    facts = Facts.of(outcome)
    before = row.state
    step = note_seen(row, outcome, ctx)
    row.cashback_reversal_id = their_id(outcome, "cashbackReversalId") or row.cashback_reversal_id
    await follow_reversal(cashback, row, step, ctx, before=before, amount_jpy=facts.amount_jpy)
    if check.reason == "early":
        await _look_later(row, ctx)


async def follow_reversal(
    cashback: PayPayCashback, row: PayPayReversal, step: Step, ctx: Context, *, before: Status, amount_jpy: int | None
) -> None:
    """Take the step of a reversal, and do what it means for the points and the yen."""
    if step.status is Status.SUCCESS and not before.is_final:
        if not cashback.state.is_final:
            # What was never booked as spent cannot be returned: the cashback's own end comes first.
            await _wait_for_cashback(cashback, row, before, ctx)
            return
        if amount_jpy is None or not 0 < amount_jpy <= row.requested_amount_jpy:
            # Settled at PayPay, for an amount that we did not ask for, or that it does not tell.
            row.status, row.next_check_at = Status.MANUAL, next_sweep_at(Status.MANUAL, ctx.now)
            ask_person(row, "reversed_amount_unclear", f"PayPay says that it took back {amount_jpy} yen", ctx)
            return
    settle(row, step, ctx)
    if step.is_resent:
        again = ReversalRequested(reversal_id=row.id, number=row.attempts)
        await ctx.emit(REVERSAL_REQUESTED, again, key=again_key(row.id, ctx))
    if before.is_final:
        return
    if step.status is Status.SUCCESS and amount_jpy is not None:
        await _return_points(cashback, row, amount_jpy, ctx)
    elif step.status is Status.FAILED:
        ask_person(row, "reversal_failed", "PayPay took nothing back: the member may have spent it", ctx)


async def reversals_of(ctx: Context, request_id: UUID) -> Sequence[PayPayReversal]:
    """All reversals of a cashback, which the caller has locked."""
    found = select(PayPayReversal).where(PayPayReversal.cashback_request_id == request_id).order_by(PayPayReversal.id)
    return (await ctx.session.scalars(found)).all()


def claimed(row: PayPayReversal) -> int:
    """How many yen of the cashback this reversal has taken, or may still take.

    One that a person has settled as failed may still: only PayPay's own word makes room for another.
    """
    if row.state is Status.SUCCESS:
        return row.reversed_amount_jpy
    took_nothing = row.state.is_final and is_confirmed(row.state, row.paypay_status)
    return 0 if took_nothing else row.requested_amount_jpy


def reversal_reply(row: PayPayReversal) -> ReversalReply:
    """The answer to whoever ordered it."""
    return ReversalReply(
        reversal_id=row.id,
        request_id=row.cashback_request_id,
        merchant_cashback_reversal_id=row.merchant_cashback_reversal_id,
        amount_jpy=row.requested_amount_jpy,
        status=row.status,
    )


async def _return_points(cashback: PayPayCashback, row: PayPayReversal, amount_jpy: int, ctx: Context) -> None:
    if cashback.state is not Status.SUCCESS:
        await _take_back_of_failed(cashback, row, amount_jpy, ctx)
        return
    done = [other for other in await reversals_of(ctx, cashback.id) if other.id != row.id]
    row.reversed_amount_jpy = amount_jpy
    amount = points_back(
        points=cashback.points,
        granted_jpy=cashback.amount_jpy,
        returned=sum(other.returned_points for other in done),
        reversed_before_jpy=sum(other.reversed_amount_jpy for other in done),
        reversed_jpy=amount_jpy,
    )
    if amount:
        split = await members(ctx.settings).give_back(ctx, cashback.id, row.id, amount)
        row.returned_points = split.points
        row.points_to_purchase, row.points_to_promotion = split.purchase, split.promotion
    await ctx.ledger.post(reversal_reference(row.id), "cashback-reversal", [taken_back(amount_jpy)])
    await tell_points("returned", cashback, row.returned_points, return_reference(row.id), ctx)
    await tell_reversal(cashback, row, ctx)


async def _take_back_of_failed(cashback: PayPayCashback, row: PayPayReversal, amount_jpy: int, ctx: Context) -> None:
    """The exchange failed and its points are the member's. Where PayPay paid it all the same, that is undone now."""
    row.reversed_amount_jpy = amount_jpy
    words = f"{amount_jpy} yen were taken back of a cashback that failed"
    if not is_contradicted(cashback.state, cashback.paypay_status):
        ask_person(row, "reversed_what_failed", words, ctx)
        return
    if await ctx.ledger.find(undone_reference(cashback.id)) is not None:
        # Booked and undone before, on PayPay's word that it had not paid: the books have neither way, and keep neither.
        ask_person(row, "reversed_what_failed", f"{words}; nothing was booked, as it was put right before", ctx)
        return
    # The yen went there and back, although no points were spent on them.
    if await ctx.ledger.find(cashback_reference(cashback.id)) is None:
        await ctx.ledger.post(cashback_reference(cashback.id), "cashback", [paid(cashback.amount_jpy)])
    await ctx.ledger.post(reversal_reference(row.id), "cashback-reversal", [taken_back(amount_jpy)])
    ended = [one for one in await reversals_of(ctx, cashback.id) if one.id == row.id or one.state is Status.SUCCESS]
    left_jpy = cashback.amount_jpy - sum(one.reversed_amount_jpy for one in ended)
    if left_jpy:
        ask_person(row, "reversed_what_failed", f"{words}; {left_jpy} more were paid: take them back too", ctx)
    else:
        close_review(cashback, "what PayPay paid was taken back", ctx)


async def _wait_for_cashback(cashback: PayPayCashback, row: PayPayReversal, before: Status, ctx: Context) -> None:
    # The next look at the reversal finds the cashback decided.
    row.status = before if before is not Status.NEW else Status.ACCEPTED
    row.next_check_at = next_sweep_at(row.state, ctx.now)
    await ctx.emit(CHECK, CashbackCheck(request_id=cashback.id, reason="reversal"), key=str(cashback.id))
    ctx.conclude("waits_for_cashback")


async def _look_later(row: PayPayReversal, ctx: Context) -> None:
    delay_s = wait_s(row)
    if delay_s is not None:
        await ctx.after(delay_s, REVERSAL_CHECK, ReversalCheck(reversal_id=row.id, reason="early"), key=str(row.id))


async def _seen(reversal_id: UUID, ctx: Context) -> tuple[PayPayReversal, PayPayCashback]:
    async with ctx.reading() as session:
        row = await session.get(PayPayReversal, reversal_id)
        cashback = await session.get(PayPayCashback, row.cashback_request_id) if row is not None else None
    if row is None or cashback is None:
        raise PermanentError(f"no reversal has the id {reversal_id}")
    return row, cashback


async def _both(reversal_id: UUID, cashback_id: UUID, ctx: Context) -> tuple[PayPayCashback, PayPayReversal]:
    """The cashback and its reversal, locked in this order."""
    cashback = await cashback_for_update(ctx, cashback_id)
    found = select(PayPayReversal).where(PayPayReversal.id == reversal_id).with_for_update()
    row: Any = await ctx.session.scalar(found)
    assert cashback is not None, "an exchange is never deleted"
    assert row is not None, "a reversal is never deleted"
    _tag(cashback, row, ctx)
    return cashback, row


def _tag(cashback: PayPayCashback, row: PayPayReversal, ctx: Context) -> None:
    ctx.tag("member_id", cashback.member_id)
    ctx.tag("merchant_cashback_id", cashback.merchant_cashback_id)
    ctx.tag("merchant_cashback_reversal_id", row.merchant_cashback_reversal_id)
