"""What the order of PayPal's events is kept for: a subscription, else the sale, else the event alone.

A refund names only its sale, which knows its subscription. Source: docs/providers/paypal.md, "Order".
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypal.events import PaypalEvent
from handlers.paypal.tables import PaypalPayment


async def key_of(session: AsyncSession, event: PaypalEvent) -> str:
    """The key under which this event is handled."""
    if event.subscription_id is not None:
        return event.subscription_id
    if event.refund_of is not None:
        sale = await session.get(PaypalPayment, event.refund_of)
        return sale.subscription_id if sale is not None and sale.subscription_id else event.refund_of
    return event.payment_id or event.id
