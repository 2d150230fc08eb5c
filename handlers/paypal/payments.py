"""Payments of subscriptions: each is booked once, however often and in whichever order PayPal tells of it.

A payment is complete when PayPal says *completed*, names a subscription and an amount above zero. What only that says
is booked; pending and denied payments are rows, one-off sales a record. Source: docs/providers/paypal.md, "Payments".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from handlers.paypal import books
from handlers.paypal.events import SALE_COMPLETED, PaypalEvent
from handlers.paypal.states import subscription_of
from handlers.paypal.tables import PaypalHold, PaypalPayment
from hub.ledger import Account, Move
from hub.money import Money
from hub.store.upserts import insert_for
from schemas.paypal import PaymentChanged

if TYPE_CHECKING:
    from hub.deliver.context import Context

SETTLED_TYPE: Final = "paypal.payment.settled"
PENDING, COMPLETED, DENIED = "pending", "completed", "denied"
STATE_OF: Final = {"PAYMENT.SALE.PENDING": PENDING, "PAYMENT.SALE.DENIED": DENIED}
OURS_TO_ACCEPT: Final = "RECEIVING_PREFERENCE_MANDATES_MANUAL_ACTION"
"""A payment that PayPal keeps until somebody accepts it in our account."""

Result: TypeAlias = "tuple[str, str | None]"
"""The outcome, and whose it is as far as that is known."""

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypal")


async def apply_sale(found: PaypalEvent, ctx: Context) -> Result:
    """What PayPal says of a sale: booked when it is a complete payment, else kept in mind."""
    if found.payment_id is None or found.amount is None or found.amount.amount_minor < 0:
        ctx.review("unreadable_payment", f"{found.type} {found.id} names no sale or no amount that can be read")
        return "unreadable_payment", found.custom_id
    ctx.tag("payment", found.payment_id)
    custom_id = found.custom_id
    if found.subscription_id is not None:
        # Stored when the subscription was made, or now; a stub where its own events are still to come.
        custom_id = (await subscription_of(found, ctx)).custom_id
    row, is_new = await _row(found, found.amount, custom_id, ctx)
    if found.type == SALE_COMPLETED:
        return await _complete(found, found.amount, row, ctx), custom_id
    state = STATE_OF[found.type]
    if row.state != PENDING and not is_new:
        # The end of a payment is known already: this came late.
        if state == DENIED and row.state != DENIED:
            ctx.review("payment_denied_after_all", f"payment {found.payment_id} is {row.state}, now PayPal denies it")
            return "payment_denied_after_all", custom_id
        return "older_news", custom_id
    row.state, row.reason_code, row.updated_at = state, found.reason_code, ctx.now
    if state == PENDING and found.reason_code == OURS_TO_ACCEPT:
        ctx.review("accept_payment", f"payment {found.payment_id} waits until it is accepted in our PayPal account")
    return f"payment_{state}", custom_id


async def _complete(found: PaypalEvent, amount: Money, row: PaypalPayment, ctx: Context) -> str:
    reference = books.sale_reference(row.payment_id)
    if await ctx.ledger.find(reference) is not None:
        return await _again(found, row, ctx)
    if not found.is_payment_complete:
        if found.subscription_id is not None and amount:
            # Money, and PayPal's own word for its state is another than the event's: nothing is guessed.
            ctx.review("payment_unclear", f"{found.type} of payment {row.payment_id} says another state than completed")
            return "payment_unclear"
        row.state, row.updated_at = COMPLETED, ctx.now
        return "one_off_sale" if found.subscription_id is None else "nothing_paid"
    funds = books.clearing(amount.currency)
    if found.is_held:
        funds = books.held(amount.currency)
        ctx.session.add(PaypalHold(payment_id=row.payment_id, held_at=ctx.now, released_at=None))
    fee = _fee(found, amount)
    await ctx.ledger.post(
        reference,
        books.PAYMENT,
        books.payment_moves(amount, fee, funds),
        data={"subscription_id": found.subscription_id, "event_id": found.id},
    )
    if row.state == DENIED:
        ctx.review("payment_denied_after_all", f"payment {row.payment_id} was denied, and now PayPal completes it")
    row.state, row.amount_minor, row.currency = COMPLETED, amount.amount_minor, amount.currency
    row.fee_minor, row.updated_at = fee.amount_minor if fee else None, ctx.now
    await tell(ctx, SETTLED_TYPE, row, amount, row.payment_id)
    return "payment_held" if found.is_held else "payment_settled"


async def _again(found: PaypalEvent, row: PaypalPayment, ctx: Context) -> str:
    """The second announcement of a sale changes nothing, but for a fee that the first one did not name."""
    booked = Money(row.amount_minor, row.currency)
    if found.amount != booked:
        ctx.review("payment_differs", f"payment {row.payment_id} was booked with {booked}, now it is {found.amount}")
        return "payment_differs"
    fee = _fee(found, booked)
    if row.fee_minor is not None or not fee:
        return "payment_known"
    move = Move(books.fees(row.currency), await funds_of(row, ctx), fee)
    await ctx.ledger.post(books.fee_reference(row.payment_id), books.FEE, [move])
    row.fee_minor, row.updated_at = fee.amount_minor, ctx.now
    return "fee_known"


async def funds_of(row: PaypalPayment, ctx: Context) -> Account:
    """Where the money of a booked payment is: held back, or ours to have."""
    hold = await ctx.session.get(PaypalHold, row.payment_id)
    is_held = hold is not None and hold.released_at is None
    return books.held(row.currency) if is_held else books.clearing(row.currency)


async def tell(ctx: Context, type_: str, row: PaypalPayment, amount: Money, reference: str) -> None:
    """An internal event, for whoever acts on money that came or went."""
    message = PaymentChanged(
        payment_id=row.payment_id,
        subscription_id=row.subscription_id,
        custom_id=row.custom_id,
        amount_minor=amount.amount_minor,
        currency=amount.currency,
        reference=reference,
    )
    await ctx.emit(type_, message, key=row.subscription_id or row.payment_id, dedupe_id=reference)


async def _row(found: PaypalEvent, amount: Money, custom_id: str | None, ctx: Context) -> tuple[PaypalPayment, bool]:
    """The sale's row, locked, and whether it is new; what one event left out is filled in from another."""
    new = insert_for(ctx.session.get_bind().dialect.name, PaypalPayment).values(
        payment_id=found.payment_id,
        subscription_id=found.subscription_id,
        custom_id=custom_id,
        state=STATE_OF.get(found.type, PENDING),
        amount_minor=amount.amount_minor,
        currency=amount.currency,
        fee_minor=None,
        refunded_minor=0,
        reason_code=found.reason_code,
        created_at=ctx.now,
        updated_at=ctx.now,
    )
    inserted = await ctx.session.execute(new.on_conflict_do_nothing().returning(PaypalPayment.payment_id))
    is_new = inserted.first() is not None
    row = await ctx.session.get(PaypalPayment, found.payment_id, with_for_update=True, populate_existing=True)
    assert row is not None
    row.subscription_id = row.subscription_id or found.subscription_id
    row.custom_id = row.custom_id or custom_id
    return row, is_new


def _fee(found: PaypalEvent, amount: Money) -> Money | None:
    """The fee that PayPal names, where it can be one; a table of fees is never a posting."""
    fee = found.fee
    if fee is None or fee.currency != amount.currency or not 0 <= fee.amount_minor <= amount.amount_minor:
        return None
    return fee
