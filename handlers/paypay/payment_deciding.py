"""What a person decides about a payment that the hub could not settle. PayPay's panel is then the witness.

The order is kept as an event with who and why. Source: docs/providers/paypay.md, "What an operator does".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from sqlalchemy import select

from handlers.paypay.payment_money import book_refund, hold, state_of_money
from handlers.paypay.payment_parts import close_parts, open_part
from handlers.paypay.payment_steps import take_step
from handlers.paypay.payment_troubles import close_troubles
from handlers.paypay.payment_words import UNPAID, Act, PaymentStatus, Step
from handlers.paypay.tables_payments import (
    OPEN_PARTS,
    PayPayCapture,
    PayPayPayment,
    PayPayRefund,
    PayPayRevert,
)
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.paypay import PaymentDecided

if TYPE_CHECKING:
    from hub.deliver.context import Context

S: Final = PaymentStatus
DECIDED: Final = "paypay.payment.decided"
BY_PERSON: Final = "BY_PERSON"
"""The reason that others are told where a person has decided."""


@handler
async def decide_payment(order: PaymentDecided, ctx: Context) -> str:
    """Settle a payment as a person has read it at PayPay; answers its new state.

    Raises RefusedCommand, and stores nothing then: NOT_FOUND, NOT_MANUAL, AMOUNT_TOO_HIGH.
    """
    found = select(PayPayPayment).where(PayPayPayment.id == order.payment_id)
    row = await ctx.session.scalar(found.with_for_update().execution_options(populate_existing=True))
    if row is None:
        raise RefusedCommand("NOT_FOUND", "no payment has this id")
    if row.state is not S.MANUAL and not row.troubles:
        raise RefusedCommand("NOT_MANUAL", f"it is {row.status}, and settles by itself or is settled")
    ctx.tag("by", order.by)
    ctx.tag("merchant_payment_id", row.merchant_payment_id)
    match order.decision:
        case "completed":
            await _complete(row, order.amount_jpy, ctx)
        case "failed":
            await _fail(row, ctx)
        case "refunded":
            await _refund(row, order, ctx)
        case _:
            assert_never(order.decision)
    row.is_unwanted = False
    close_troubles(row, f"{order.by} has decided: {order.decision}. {order.note}", ctx)
    return row.status


async def _complete(row: PayPayPayment, amount_jpy: int | None, ctx: Context) -> None:
    """The money is ours, and kept."""
    if row.captured_jpy is not None and amount_jpy not in (None, row.captured_jpy):
        raise RefusedCommand("AMOUNT_TOO_HIGH", f"{row.captured_jpy} yen are in the books")
    await _close_parts(row, ctx, is_taken=True)
    to = S.REFUNDED if row.refunded_jpy else S.COMPLETED
    await take_step(row, Step(to, (Act.BOOK,)), ctx, reason=BY_PERSON, amount_jpy=amount_jpy)


async def _fail(row: PayPayPayment, ctx: Context) -> None:
    """No money was taken, or PayPay has given it back by itself."""
    if row.refunded_jpy:
        raise RefusedCommand("NOT_MANUAL", f"{row.refunded_jpy} yen of it were refunded, so that it was paid")
    await _close_parts(row, ctx, is_taken=False)
    if row.state not in UNPAID:
        to = S.CANCELLED_BY_US if row.is_unwanted or row.captured_jpy is not None else S.FAILED
        await take_step(row, Step(to), ctx, reason=BY_PERSON)


async def _refund(row: PayPayPayment, order: PaymentDecided, ctx: Context) -> None:
    """PayPay has given money back, by a refund of ours or by hand."""
    await hold(row, row.amount_jpy, ctx)
    left_jpy = (row.captured_jpy or 0) - row.refunded_jpy
    amount_jpy = order.amount_jpy or left_jpy
    if not 0 < amount_jpy <= left_jpy:
        raise RefusedCommand("AMOUNT_TOO_HIGH", f"{left_jpy} yen of it can have been given back")
    open_ones = select(PayPayRefund).where(PayPayRefund.payment_id == row.id, PayPayRefund.status.in_(OPEN_PARTS))
    refund = await ctx.session.scalar(open_ones.limit(1))
    if refund is None:
        part_id = ctx.new_id()
        refund = PayPayRefund(merchant_refund_id=f"rf-{part_id.hex}", amount_jpy=amount_jpy, reason=order.note)
        open_part(refund, part_id, row.id, f"by-person-{part_id.hex}", ctx)
    refund.amount_jpy = amount_jpy
    await take_step(row, Step(S.REFUNDED), ctx, reason=BY_PERSON)
    await book_refund(row, refund, amount_jpy, ctx)
    row.status = state_of_money(row)


async def _close_parts(row: PayPayPayment, ctx: Context, *, is_taken: bool) -> None:
    """What is under way is over."""
    await close_parts(PayPayCapture, row, ctx, is_done=is_taken)
    await close_parts(PayPayRevert, row, ctx, is_done=False)
    await close_parts(PayPayRefund, row, ctx, is_done=False)
