"""Payments of subscriptions: each is booked once, however often and in whichever order PayPal tells of it.

A payment is complete when PayPal says *completed*, names a subscription and an amount above zero. What only that says
is booked; pending and denied payments are rows, one-off sales a record. Source: docs/providers/paypal.md, "Payments".
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
from prometheus_client import Counter
from sqlalchemy import select

from handlers.paypal import books
from handlers.paypal.events import SALE_COMPLETED, PaypalEvent
from handlers.paypal.fees import is_unusual
from handlers.paypal.settings import TAIWAN, PaypalSettings, fee_estimate
from handlers.paypal.states import subscription_of
from handlers.paypal.tables import PaypalHold, PaypalPayment
from hub.ledger import Account, Move
from hub.money import Money
from hub.store import tables as t
from hub.store.upserts import insert_for
from schemas.paypal import PaymentChanged, UnownedPayment

if TYPE_CHECKING:
    from hub.deliver.context import Context
    from hub.ledger import PostedEntry

SETTLED_TYPE: Final = "paypal.payment.settled"
UNOWNED_TYPE: Final = "paypal.payment.unowned"
PENDING, COMPLETED, DENIED = "pending", "completed", "denied"
STATE_OF: Final = {"PAYMENT.SALE.PENDING": PENDING, "PAYMENT.SALE.DENIED": DENIED}
OURS_TO_ACCEPT: Final = "RECEIVING_PREFERENCE_MANDATES_MANUAL_ACTION"
"""A payment that PayPal keeps until somebody accepts it in our account."""
ACCEPT: Final = "accept_payment"

UNUSUAL_FEES: Final = Counter(
    "paypal_fee_unusual_total", "Fees more than a fifth off PayPal's price list, by currency", ["currency"]
)

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
    if row.reason_code == OURS_TO_ACCEPT and STATE_OF.get(found.type) != PENDING:
        await _needs_nobody(row, found, ctx)
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
        ctx.review(ACCEPT, f"payment {found.payment_id} waits until it is accepted in our PayPal account")
    return f"payment_{state}", custom_id


async def _complete(found: PaypalEvent, amount: Money, row: PaypalPayment, ctx: Context) -> str:
    reference = books.sale_reference(row.payment_id)
    posted = await ctx.ledger.find(reference)
    if posted is not None:
        return await _again(found, row, posted, ctx)
    if not found.is_payment_complete:
        if found.subscription_id is not None and amount:
            # Money, and PayPal's own word for its state is another than the event's: nothing is guessed.
            ctx.review("payment_unclear", f"{found.type} of payment {row.payment_id} says another state than completed")
            return "payment_unclear"
        row.state, row.updated_at = COMPLETED, ctx.now
        return "one_off_sale" if found.subscription_id is None else "nothing_paid"
    funds = books.clearing(amount.currency, row.account)
    if found.is_held:
        funds = books.held(amount.currency, row.account)
        ctx.session.add(PaypalHold(payment_id=row.payment_id, held_at=ctx.now, released_at=None))
    fee = _fee(found, amount)
    await ctx.ledger.post(
        reference,
        books.PAYMENT,
        books.payment_moves(amount, fee, funds, row.account),
        data={
            "subscription_id": found.subscription_id,
            "event_id": found.id,
            "changed_at": found.changed_at.isoformat() if found.changed_at else None,
        },
    )
    if row.state == DENIED:
        ctx.review("payment_denied_after_all", f"payment {row.payment_id} was denied, and now PayPal completes it")
    row.state, row.amount_minor, row.currency = COMPLETED, amount.amount_minor, amount.currency
    row.fee_minor, row.updated_at = fee.amount_minor if fee else None, ctx.now
    _look_at_fee(row, amount, ctx)
    await tell(ctx, SETTLED_TYPE, row, amount, row.payment_id)
    return "payment_held" if found.is_held else "payment_settled"


async def _again(found: PaypalEvent, row: PaypalPayment, posted: PostedEntry, ctx: Context) -> str:
    """The second announcement of a sale changes nothing, but for a fee or a release that the first did not name."""
    booked = Money(row.amount_minor, row.currency)
    if found.amount != booked:
        ctx.review("payment_differs", f"payment {row.payment_id} was booked with {booked}, now it is {found.amount}")
        return "payment_differs"
    outcome, fee = "payment_known", _fee(found, booked)
    if row.fee_minor is None and fee:
        move = Move(books.fees(row.currency, row.account), await funds_of(row, ctx), fee)
        await ctx.ledger.post(books.fee_reference(row.payment_id), books.FEE, [move])
        row.fee_minor, row.updated_at = fee.amount_minor, ctx.now
        _look_at_fee(row, booked, ctx)
        outcome = "fee_known"
    hold = await ctx.session.get(PaypalHold, row.payment_id)
    if hold is not None and hold.released_at is None and _says_free(found, posted):
        await let_go(row, hold, ctx, note=f"event {found.id} of PayPal names no hold any more")
        outcome = "payment_released"
    return outcome


def _says_free(found: PaypalEvent, posted: PostedEntry) -> bool:
    """Whether PayPal tells later, and by an event (its lists say nothing of holds), of a payment that is not held."""
    before = str((posted.data or {}).get("changed_at") or "")
    if not before or not found.resource or found.changed_at is None:
        return False
    return found.is_payment_complete and not found.is_held and found.changed_at > datetime.fromisoformat(before)


def held_back(row: PaypalPayment) -> Money:
    """What a held payment has left in the held account: gross less fee, less refunds without their part of the fee."""
    fee = (row.fee_minor or 0) - (row.fee_refunded_minor or 0)
    return Money(row.amount_minor - row.refunded_minor - fee, row.currency)


async def let_go(row: PaypalPayment, hold: PaypalHold, ctx: Context, *, note: str) -> Money:
    """Book that held money is ours to have; answers with how much."""
    rest = held_back(row)
    if rest:
        clearing, held = books.clearing(row.currency, row.account), books.held(row.currency, row.account)
        # A refund that left its fee with PayPal took more than was held: the clearing account makes up for it.
        move = Move(clearing, held, rest) if rest.amount_minor > 0 else Move(held, clearing, abs(rest))
        await ctx.ledger.post(books.release_reference(row.payment_id), books.RELEASE, [move], note=note)
    hold.released_at = ctx.now
    return rest


async def _needs_nobody(row: PaypalPayment, found: PaypalEvent, ctx: Context) -> None:
    """The payment that somebody was to accept is decided: nobody need look at it."""
    of_payment = select(t.tags.c.event_id).where(t.tags.c.name == "payment", t.tags.c.value == row.payment_id)
    waits = select(t.reviews.c.event_id).where(
        t.reviews.c.state == "open", t.reviews.c.outcome == ACCEPT, t.reviews.c.event_id.in_(of_payment)
    )
    for event_id in await ctx.session.scalars(waits):
        ctx.resolve_review(event_id, f"PayPal tells {found.type} of payment {row.payment_id}")


def _look_at_fee(row: PaypalPayment, gross: Money, ctx: Context) -> None:
    """Warn of a fee that is far from PayPal's price list, which is one for sellers in Taiwan; it is booked as it is."""
    settings: PaypalSettings = ctx.settings
    expected = fee_estimate(gross, settings)
    if settings.merchant_country != TAIWAN or row.fee_minor is None or expected is None:
        return
    if is_unusual(Money(row.fee_minor, row.currency), expected):
        ctx.tag("fee_unusual", row.payment_id)
        UNUSUAL_FEES.labels(row.currency).inc()
        log.warning(
            "paypal_fee_unusual",
            payment_id=row.payment_id,
            fee_minor=row.fee_minor,
            expected_minor=expected.amount_minor,
            currency=row.currency,
        )


async def funds_of(row: PaypalPayment, ctx: Context) -> Account:
    """Where the money of a booked payment is: held back, or ours to have."""
    hold = await ctx.session.get(PaypalHold, row.payment_id)
    is_held = hold is not None and hold.released_at is None
    return books.held(row.currency, row.account) if is_held else books.clearing(row.currency, row.account)


async def tell(ctx: Context, type_: str, row: PaypalPayment, amount: Money, reference: str) -> None:
    """An internal event, for whoever acts on money that came or went; its owner is asked for where nobody has said."""
    message = PaymentChanged(
        payment_id=row.payment_id,
        subscription_id=row.subscription_id,
        custom_id=row.custom_id,
        amount_minor=amount.amount_minor,
        currency=amount.currency,
        reference=reference,
    )
    key = row.subscription_id or row.payment_id
    settings: PaypalSettings = ctx.settings
    can_ask = bool(settings.account(row.account).client_id.get_secret_value())
    if row.custom_id is None and row.subscription_id is not None and can_ask:
        unowned = UnownedPayment.model_validate({"type": type_, "account": row.account, "change": message.model_dump()})
        await ctx.emit(UNOWNED_TYPE, unowned, key=key, dedupe_id=reference)
    else:
        await ctx.emit(type_, message, key=key, dedupe_id=reference)


async def _row(found: PaypalEvent, amount: Money, custom_id: str | None, ctx: Context) -> tuple[PaypalPayment, bool]:
    """The sale's row, locked, and whether it is new; what one event left out is filled in from another."""
    new = insert_for(ctx.session.get_bind().dialect.name, PaypalPayment).values(
        payment_id=found.payment_id,
        account=found.account,
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
    if row.state in STATE_OF.values():
        # Booked already, its news may be on the way to be told under its owner's name; later ones must not overtake it.
        row.custom_id = row.custom_id or custom_id
    return row, is_new


def _fee(found: PaypalEvent, amount: Money) -> Money | None:
    """The fee that PayPal names, where it can be one; a table of fees is never a posting."""
    fee = found.fee
    if fee is None or fee.currency != amount.currency or not 0 <= fee.amount_minor <= amount.amount_minor:
        return None
    return fee
