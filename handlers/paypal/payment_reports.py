"""Payments as people ask for them: what is pending, what PayPal holds back, and letting the latter go.

Source: docs/providers/paypal.md, "Payments".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypal.accounts import UnknownAccountError
from handlers.paypal.asking import LOOK_BACK, in_turns, transactions
from handlers.paypal.payments import PENDING, let_go
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables import PaypalHold, PaypalPayment
from hub.capability import handler
from hub.errors import RefusedCommand, RetryableError
from hub.money import Money
from schemas.paypal import PaymentRelease, PaymentView

if TYPE_CHECKING:
    from hub.api import HubApi
    from hub.deliver.context import Context

LINES_MAX: Final = 1_000
RELEASE_TYPE: Final = "paypal.payment.release"


async def last_payment(session: AsyncSession, subscription_id: str) -> PaymentView | None:
    """The payment of a subscription that was told of last; ``on_hold`` where PayPal keeps the money back."""
    query = (
        select(PaypalPayment, PaypalHold)
        .outerjoin(PaypalHold, PaypalHold.payment_id == PaypalPayment.payment_id)
        .where(PaypalPayment.subscription_id == subscription_id)
        .order_by(PaypalPayment.created_at.desc(), PaypalPayment.payment_id.desc())
        .limit(1)
    )
    found = (await session.execute(query)).first()
    if found is None:
        return None
    row, hold = found
    is_held = hold is not None and hold.released_at is None
    return PaymentView(
        payment_id=row.payment_id,
        state="on_hold" if is_held and row.state == "completed" else row.state,
        amount_minor=row.amount_minor,
        currency=row.currency,
        updated_at=row.updated_at,
    )


async def list_pending(api: HubApi, *, since: datetime | None = None, limit: int = 100) -> Sequence[PaypalPayment]:
    """Payments that PayPal has not decided, oldest first; ``since`` leaves out those that came later."""
    query = select(PaypalPayment).where(PaypalPayment.state == PENDING).order_by(PaypalPayment.created_at)
    if since is not None:
        query = query.where(PaypalPayment.created_at <= since)
    async with api.reading() as session:
        return list(await session.scalars(query.limit(min(limit, LINES_MAX))))


async def said_of(api: HubApi, row: PaypalPayment) -> str:
    """What PayPal says of a payment now, in a word of its own or in ours where it does not say."""
    if row.subscription_id is None:
        return "of no subscription"
    settings: PaypalSettings = api.settings_of("paypal")
    try:
        ask = in_turns(api, settings.account(row.account))
        listed = await transactions(ask, row.subscription_id, row.created_at - LOOK_BACK, api.clock.now())
    except (RetryableError, UnknownAccountError) as error:
        return f"not asked: {error}"
    return next((one.status for one in listed if one.payment_id == row.payment_id), "not listed")


async def list_held(api: HubApi, *, limit: int = 100) -> Sequence[tuple[PaypalPayment, datetime]]:
    """Payments whose money PayPal keeps back, and since when, oldest first."""
    query = (
        select(PaypalPayment, PaypalHold.held_at)
        .join(PaypalHold, PaypalHold.payment_id == PaypalPayment.payment_id)
        .where(PaypalHold.released_at.is_(None))
        .order_by(PaypalHold.held_at)
    )
    async with api.reading() as session:
        return [(row, held_at) for row, held_at in await session.execute(query.limit(min(limit, LINES_MAX)))]


@handler
async def release_payment(order: PaymentRelease, ctx: Context) -> Money:
    """Book that held money is ours to have; answers with how much. PayPal sends no event for it.

    Raises RefusedCommand: payment_not_found, not_held. Nothing is changed then.
    """
    ctx.tag("payment", order.payment_id)
    row = await ctx.session.get(PaypalPayment, order.payment_id, with_for_update=True)
    if row is None:
        raise RefusedCommand("payment_not_found", f"there is no payment {order.payment_id}")
    hold = await ctx.session.get(PaypalHold, order.payment_id)
    if hold is None or hold.released_at is not None:
        raise RefusedCommand("not_held", f"the money of payment {order.payment_id} is not held")
    rest = await let_go(row, hold, ctx, note=order.note)
    ctx.conclude("released")
    await ctx.session.flush()
    return rest
