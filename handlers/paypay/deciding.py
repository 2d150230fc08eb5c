"""What a person decides about a request that the hub could not settle: the way out of MANUAL.

PayPay's panel is then the witness, and the order is kept as an event with who and why. Source:
docs/providers/paypay.md, "What an operator does".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from sqlalchemy import select

from handlers.paypay.cashback import follow, was_reversed
from handlers.paypay.exchanging import cashback_for_update
from handlers.paypay.progress import close_review, settle
from handlers.paypay.reversal import follow_reversal
from handlers.paypay.states import Status, Step
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

    A NEW one that has not reached PayPay for a day is a person's, too.

    Raises RefusedCommand, and stores nothing then: NOT_FOUND, NOT_MANUAL, IS_REVERSED, AMOUNT_MISSING, AMOUNT_TOO_HIGH.
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
    if order.decision == "again" and await was_reversed(row, ctx):
        raise RefusedCommand("IS_REVERSED", "it is to be taken back: sent again, it would be granted after that")
    step = _step(row, order, ctx)
    before = row.state
    settle(row, step, ctx)
    await follow(row, before, step, BY_PERSON, ctx)
    return row.status


async def _decide_reversal(found: PayPayReversal, order: PersonDecided, ctx: Context) -> str:
    cashback = await cashback_for_update(ctx, found.cashback_request_id)
    assert cashback is not None, "an exchange is never deleted"
    locked = select(PayPayReversal).where(PayPayReversal.id == found.id).with_for_update()
    row = (await ctx.session.scalars(locked.execution_options(populate_existing=True))).one()
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
