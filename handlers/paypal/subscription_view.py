"""A subscription as a shop asks for it: what PayPal said last, the last payment, and its invoice."""

from __future__ import annotations

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypal.invoice_desk import invoice_of
from handlers.paypal.payment_reports import last_payment
from handlers.paypal.tables import PaypalSubscription
from schemas.paypal import SubscriptionView

ABANDONED: Final = "ABANDONED"
"""No word of PayPal's: the buyer has not approved for three days. An approval that comes after all ends it."""


async def subscription_view(session: AsyncSession, subscription_id: str) -> SubscriptionView | None:
    """The view; None where nobody has heard of the subscription."""
    row = await session.get(PaypalSubscription, subscription_id)
    if row is None:
        return None
    payment = await last_payment(session, row.subscription_id)
    return SubscriptionView(
        subscription_id=row.subscription_id,
        custom_id=row.custom_id,
        plan_id=row.plan_id,
        status=ABANDONED if row.abandoned_at is not None else row.status,
        last_payment=payment,
        invoice=await invoice_of(session, payment.payment_id) if payment is not None else None,
    )
