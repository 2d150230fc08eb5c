"""Money that PayPal took back without saying of which payment: its lists of payments are asked, and it must be one.

Source: PayPal's sample of PAYMENT.SALE.REVERSED names no sale; docs/providers/paypal.md, "Reversals".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select

from handlers.paypal.asking import LOOK_BACK, recorded, transactions
from handlers.paypal.events import SALE_REVERSED, PaypalEvent
from handlers.paypal.office import office_of
from handlers.paypal.payments import COMPLETED
from handlers.paypal.refunds import PARTIALLY_REFUNDED, apply_refund
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables import PaypalPayment
from hub.capability import calls
from hub.errors import NotYet
from hub.event import stable_hash
from hub.flow.priority import Priority
from hub.money import Money
from schemas.paypal import ReversalUnresolved

if TYPE_CHECKING:
    from hub.deliver.context import Context

CANDIDATES_MAX: Final = 25
"""So many payments are looked at; where more could be meant, a person decides."""
LISTED_S_MAX: Final = 24 * 3_600.0
"""How long PayPal's lists may take to show what its event has said."""


@calls("paypal", priority=Priority.SWEEP)
async def resolve_reversal(reversal: ReversalUnresolved, ctx: Context) -> None:
    """Book the reversal against the one payment of which PayPal says that so much went back; else leave it to a person.

    Only a payment that is not known to be given back here, and of which PayPal's list says that it was.
    """
    candidates = await _candidates(reversal, ctx)
    if not 0 < len(candidates) <= CANDIDATES_MAX:
        ctx.conclude("ambiguous" if candidates else "no_such_payment")
        return
    taken = [row for row in candidates if await _is_taken_back(row, reversal, ctx)]
    if not taken and ctx.waited_s < LISTED_S_MAX:
        raise NotYet("PayPal lists no payment that was taken back", within_s=2 * LISTED_S_MAX)
    if len(taken) != 1:
        ctx.conclude("ambiguous" if taken else "no_such_payment")
        return
    await ctx.begin()
    found = PaypalEvent(
        id=reversal.event_id,
        type=SALE_REVERSED,
        resource={},
        account=reversal.account,
        refund_id=reversal.refund_id,
        refund_of=taken[0].payment_id,
        amount=_amount(reversal),
        fee=Money(reversal.fee_minor, reversal.currency) if reversal.fee_minor is not None else None,
        reason_code=reversal.reason_code,
    )
    ctx.resolve_review(reversal.review_event_id, f"PayPal's list shows that it is of payment {found.refund_of}")
    outcome, _ = await apply_refund(found, ctx)
    ctx.conclude(outcome)


def _amount(reversal: ReversalUnresolved) -> Money:
    return Money(reversal.amount_minor, reversal.currency)


async def _candidates(reversal: ReversalUnresolved, ctx: Context) -> Sequence[PaypalPayment]:
    """Booked payments that have so much left: those with exactly as much, else those with more."""
    left = PaypalPayment.amount_minor - PaypalPayment.refunded_minor
    query = (
        select(PaypalPayment)
        .where(
            PaypalPayment.state.in_((COMPLETED, PARTIALLY_REFUNDED)),
            PaypalPayment.subscription_id.is_not(None),
            PaypalPayment.currency == reversal.currency,
            PaypalPayment.account.is_not_distinct_from(reversal.account),
        )
        .order_by(PaypalPayment.created_at.desc(), PaypalPayment.payment_id)
        .limit(CANDIDATES_MAX + 1)
    )
    async with ctx.reading() as session:
        whole = list(await session.scalars(query.where(left == reversal.amount_minor)))
        return whole or list(await session.scalars(query.where(left > reversal.amount_minor)))


async def _is_taken_back(row: PaypalPayment, reversal: ReversalUnresolved, ctx: Context) -> bool:
    assert row.subscription_id is not None
    subscription_id = row.subscription_id
    settings: PaypalSettings = ctx.settings
    ask = office_of(settings.account(reversal.account)).client.ask

    async def question() -> Mapping[str, Any]:
        listed = await transactions(ask, subscription_id, row.created_at - LOOK_BACK, ctx.now)
        return {"status": next((one.status for one in listed if one.payment_id == row.payment_id), None)}

    # A step of its own for each look: what PayPal lists changes.
    step = f"look-{stable_hash(row.payment_id, ctx.now.isoformat()).hex()[:16]}"
    said = await recorded(ctx, step, {"payment_id": row.payment_id}, question)
    is_whole = row.amount_minor - row.refunded_minor == reversal.amount_minor
    # A part that went back is news only of a payment of which none has.
    return bool(said["status"] == "REFUNDED" if is_whole else _is_news(said["status"], row))


def _is_news(status: object, row: PaypalPayment) -> bool:
    return status == "PARTIALLY_REFUNDED" and row.refunded_minor == 0
