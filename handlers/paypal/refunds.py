"""Money that went back: each refund is booked once, and never more than its payment.

A refund names only its sale. One that comes before its sale waits for it. Source: docs/providers/paypal.md, "Payments".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.paypal import books
from handlers.paypal.events import SALE_REFUNDED, SALE_REVERSED, PaypalEvent
from handlers.paypal.payments import COMPLETED, Result, funds_of, tell
from handlers.paypal.tables import PaypalPayment
from hub.capability import handler
from hub.errors import NotYet, RefusedCommand
from hub.money import Money
from schemas.paypal import RefundOrder, ReversalUnresolved

if TYPE_CHECKING:
    from hub.deliver.context import Context

REFUNDED_TYPE: Final = "paypal.payment.refunded"
ORDER_TYPE: Final = "paypal.refund.order"
UNRESOLVED_TYPE: Final = "paypal.reversal.unresolved"
SALE_AWAITED_S: Final = 96 * 3_600.0
"""PayPal repeats a webhook for three days: a sale may come that late after its refund."""
NOT_REFUNDED: Final = ("cancelled", "failed")
"""States of a refund in which no money went back."""
PARTIALLY_REFUNDED, REFUNDED, REVERSED = "partially_refunded", "refunded", "reversed"
BOOKED: Final = (COMPLETED, PARTIALLY_REFUNDED, REFUNDED, REVERSED)


async def apply_refund(found: PaypalEvent, ctx: Context) -> Result:
    """Book the refund against its payment. Raises NotYet while the payment is not known."""
    if found.refund_id is None or not found.amount:
        ctx.review("refund_unreadable", f"{found.type} {found.id} names no refund or no amount: look at PayPal")
        return "refund_unreadable", None
    if found.refund_of is None:
        return await _ask_of_which(found, found.refund_id, found.amount, ctx), None
    ctx.tag("payment", found.refund_of)
    row = await ctx.session.get(PaypalPayment, found.refund_of, with_for_update=True, populate_existing=True)
    is_booked = row is not None and await ctx.ledger.find(books.sale_reference(row.payment_id)) is not None
    if row is None or not is_booked:
        if ctx.waited_s < SALE_AWAITED_S and (row is None or row.subscription_id is not None):
            raise NotYet(f"payment {found.refund_of} is not booked yet", within_s=2 * SALE_AWAITED_S)
        # A one-off sale was never booked, so nothing of it is reversed.
        if row is None or row.subscription_id is not None:
            ctx.review("refund_of_unknown", f"refund {found.refund_id} of {found.refund_of}, which nobody has told of")
        return "refund_not_ours", row.custom_id if row else None
    if (found.state or "").lower() in NOT_REFUNDED:
        return "refund_failed", row.custom_id
    if found.amount.currency != row.currency:
        ctx.review("refund_differs", f"refund {found.refund_id} is in {found.amount.currency}, not {row.currency}")
        return "refund_differs", row.custom_id
    return await _book(found, found.amount, row, ctx), row.custom_id


async def _ask_of_which(found: PaypalEvent, refund_id: str, amount: Money, ctx: Context) -> str:
    """PayPal's own sample of a reversal names no sale: its lists may tell, and until then it is for a person."""
    if await ctx.ledger.find(books.refund_reference(refund_id)) is not None:
        return "refund_known"
    unresolved = ReversalUnresolved(
        event_id=found.id,
        refund_id=refund_id,
        account=found.account,
        amount_minor=amount.amount_minor,
        currency=amount.currency,
        fee_minor=found.fee.amount_minor if found.fee is not None else None,
        reason_code=found.reason_code,
        review_event_id=ctx.event.id,
    )
    await ctx.emit(UNRESOLVED_TYPE, unresolved, dedupe_id=refund_id)
    ctx.review("reversal_unresolved", f"{found.type} {found.id} of {amount} names no sale: PayPal's lists are asked")
    return "reversal_unresolved"


async def _book(found: PaypalEvent, amount: Money, row: PaypalPayment, ctx: Context, *, note: str = "") -> str:
    assert found.refund_id is not None
    reference = books.refund_reference(found.refund_id)
    if await ctx.ledger.find(reference) is not None:
        return "refund_known"
    rest = Money(row.amount_minor - row.refunded_minor, row.currency)
    if amount > rest:
        ctx.review(
            "refund_exceeds", f"refund {found.refund_id} is {amount}, of payment {row.payment_id} {rest} are left"
        )
    back = min(amount, rest)
    if not back:
        return "refund_exceeds"
    fee = found.fee if found.fee is not None and found.fee.currency == row.currency else Money.zero(row.currency)
    fee = min(fee, back, Money((row.fee_minor or 0) - (row.fee_refunded_minor or 0), row.currency))
    moves = books.refund_moves(back, fee, await funds_of(row, ctx), row.account)
    await ctx.ledger.post(reference, books.REFUND, moves, note=note)
    row.refunded_minor += back.amount_minor
    row.fee_refunded_minor = (row.fee_refunded_minor or 0) + fee.amount_minor
    if row.state != REVERSED:
        row.state = REFUNDED if row.refunded_minor == row.amount_minor else PARTIALLY_REFUNDED
    if found.type == SALE_REVERSED:
        row.state = REVERSED
        ctx.review("payment_reversed", f"PayPal has taken back {back} of payment {row.payment_id}")
    row.updated_at = ctx.now
    await tell(ctx, REFUNDED_TYPE, row, back, found.refund_id)
    return "refund_exceeds" if amount > rest else "payment_refunded"


@handler
async def book_refund(order: RefundOrder, ctx: Context) -> str:
    """Book what went back at PayPal and no event has told, or not of which payment; answers with the outcome.

    Raises RefusedCommand: payment_not_booked, refund_known, refund_differs, refund_exceeds. Nothing is changed then.
    """
    ctx.tag("payment", order.payment_id)
    row = await ctx.session.get(PaypalPayment, order.payment_id, with_for_update=True)
    if row is None or await ctx.ledger.find(books.sale_reference(order.payment_id)) is None:
        raise RefusedCommand("payment_not_booked", f"no payment {order.payment_id} is booked")
    if await ctx.ledger.find(books.refund_reference(order.refund_id)) is not None:
        raise RefusedCommand("refund_known", f"refund {order.refund_id} is booked already")
    amount = Money(order.amount_minor, order.currency)
    rest = Money(row.amount_minor - row.refunded_minor, row.currency)
    if amount.currency != row.currency:
        raise RefusedCommand("refund_differs", f"payment {row.payment_id} is in {row.currency}")
    if not 0 < amount.amount_minor <= rest.amount_minor:
        raise RefusedCommand("refund_exceeds", f"of payment {row.payment_id} {rest} are left")
    found = PaypalEvent(
        id=f"order:{order.refund_id}",
        type=SALE_REVERSED if order.is_reversal else SALE_REFUNDED,
        resource={},
        refund_id=order.refund_id,
        refund_of=row.payment_id,
        amount=amount,
    )
    outcome = await _book(found, amount, row, ctx, note=order.note)
    ctx.conclude(outcome)
    await ctx.session.flush()
    return outcome
