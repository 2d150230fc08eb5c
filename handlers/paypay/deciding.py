"""What a person decides about a request that the hub could not settle: the way out of MANUAL.

PayPay's panel is then the witness, and the order is kept as an event with who and why. Source:
docs/providers/paypay.md, "What an operator does".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from sqlalchemy import select

from handlers.paypay.announcing import tell_end, tell_points
from handlers.paypay.books import (
    cashback_reference,
    late_spend_reference,
    paid,
    return_reference,
    undone_reference,
)
from handlers.paypay.cashback import follow, was_reversed
from handlers.paypay.exchanging import cashback_for_update
from handlers.paypay.members import members
from handlers.paypay.progress import close_review, settle
from handlers.paypay.reversal import claimed, follow_reversal, reversals_of
from handlers.paypay.states import SAID_SUCCESS, Status, Step, is_contradicted
from handlers.paypay.tables import PayPayCashback, PayPayReversal, Request
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.paypay_exchange import PersonDecided

if TYPE_CHECKING:
    from hub.deliver.context import Context

BY_PERSON: Final = "BY_PERSON"
"""The reason that others are told where a person has decided."""


@handler
async def decide(order: PersonDecided, ctx: Context) -> str:
    """Settle a MANUAL request as a person has read it at PayPay, or send it once more; answers the new state.

    A NEW one that has not reached PayPay for a day is a person's, too; so is one that has ended and of which PayPay
    says the opposite.

    Raises RefusedCommand, and stores nothing then: NOT_FOUND, NOT_MANUAL, IS_REVERSED, AMOUNT_MISSING, AMOUNT_TOO_HIGH,
    NOT_ENOUGH_POINTS.
    """
    ctx.tag("by", order.by)
    if order.kind == "cashback":
        row = await cashback_for_update(ctx, order.request_id)
        if row is None:
            raise RefusedCommand("NOT_FOUND", "no exchange has this id")
        return await _decide_cashback(row, order, ctx)
    found = await ctx.session.get(PayPayReversal, order.request_id)
    if found is None:
        raise RefusedCommand("NOT_FOUND", "no reversal has this id")
    return await _decide_reversal(found, order, ctx)


async def _decide_cashback(row: PayPayCashback, order: PersonDecided, ctx: Context) -> str:
    if is_contradicted(row.state, row.paypay_status):
        await _correct_cashback(row, order, ctx)
        return row.status
    if order.decision == "again" and await was_reversed(row, ctx):
        raise RefusedCommand("IS_REVERSED", "it is to be taken back: sent again, it would be granted after that")
    step = _step(row, order, ctx)
    before = row.state
    settle(row, step, ctx)
    await follow(row, before, step, BY_PERSON, ctx)
    return row.status


async def _correct_cashback(row: PayPayCashback, order: PersonDecided, ctx: Context) -> None:
    """It ended one way here and the other at PayPay: what was booked, or was not, is put right by new entries."""
    is_paid = row.paypay_status == SAID_SUCCESS
    if order.decision != ("succeeded" if is_paid else "failed"):
        raise RefusedCommand("NOT_MANUAL", f"PayPay says {row.paypay_status}: settle it so, or have it taken back")
    if any(map(claimed, await reversals_of(ctx, row.id))):
        raise RefusedCommand("IS_REVERSED", "it is, or was, to be taken back: that settles it")
    if await ctx.ledger.find((cashback_reference if is_paid else undone_reference)(row.id)) is not None:
        raise RefusedCommand("NOT_MANUAL", "it was put right before: correct the books by hand")
    if is_paid:
        # Refused where the member has used them: then the yen can be taken back, or the shop grants what is missing.
        split = await members(ctx.settings).spend_released(ctx, row.id, row.member_id, row.points)
        row.points_from_purchase, row.points_from_promotion = split.purchase, split.promotion
        await ctx.ledger.post(cashback_reference(row.id), "cashback", [paid(row.amount_jpy)])
        row.status, row.succeeded_at = Status.SUCCESS, ctx.now
        await tell_points("spent", row, row.points, late_spend_reference(row.id), ctx)
    else:
        await members(ctx.settings).give_back(ctx, row.id, row.id, row.points)
        await ctx.ledger.reverse(cashback_reference(row.id), reference=undone_reference(row.id), note=order.note)
        row.status, row.succeeded_at = Status.FAILED, None
        await tell_points("returned", row, row.points, return_reference(row.id), ctx)
    row.last_error, row.next_check_at, row.updated_at = None, None, ctx.now
    close_review(row, f"{order.by} has decided: {order.decision}. {order.note}", ctx)
    ctx.conclude(row.status.lower())
    await tell_end(row, BY_PERSON, ctx.now, ctx, is_corrected=True)


async def _decide_reversal(found: PayPayReversal, order: PersonDecided, ctx: Context) -> str:
    cashback = await cashback_for_update(ctx, found.cashback_request_id)
    assert cashback is not None, "an exchange is never deleted"
    locked = select(PayPayReversal).where(PayPayReversal.id == found.id).with_for_update()
    row = (await ctx.session.scalars(locked.execution_options(populate_existing=True))).one()
    if row.state is not Status.SUCCESS and is_contradicted(row.state, row.paypay_status):
        # Nothing was booked when it failed: it is settled as one that nobody has decided on.
        row.status, row.last_error = Status.MANUAL, None
        if order.decision != "succeeded":
            raise RefusedCommand("NOT_MANUAL", "PayPay says that it took the yen back: settle it so")
    step = _step(row, order, ctx)
    if step.status is Status.SUCCESS:
        if order.amount_jpy is None:
            raise RefusedCommand("AMOUNT_MISSING", "say how many yen PayPay took back")
        if order.amount_jpy > row.requested_amount_jpy:
            raise RefusedCommand("AMOUNT_TOO_HIGH", f"{row.requested_amount_jpy} yen were to be taken back")
        if not cashback.state.is_final:
            raise RefusedCommand("NOT_MANUAL", f"its exchange is {cashback.status}: settle that first")
    await follow_reversal(cashback, row, step, ctx, before=row.state, amount_jpy=order.amount_jpy)
    return row.status


def _step(row: Request, order: PersonDecided, ctx: Context) -> Step:
    """What the order means for this row. Raises RefusedCommand unless a person is to decide on it."""
    is_stuck = row.state is Status.NEW and row.review_event_id is not None
    if row.state is not Status.MANUAL and not is_stuck:
        raise RefusedCommand("NOT_MANUAL", f"it is {row.status}, and settles by itself or is settled")
    close_review(row, f"{order.by} has decided: {order.decision}. {order.note}", ctx)
    match order.decision:
        case "succeeded":
            return Step(Status.SUCCESS)
        case "failed":
            return Step(Status.FAILED)
        case "again":
            # The same id: where PayPay has it after all, it refuses the second.
            return Step(Status.NEW, is_resent=True)
        case _:
            assert_never(order.decision)
