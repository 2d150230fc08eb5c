"""Subscriptions: what a user wants renewed. They follow the licences that orders give.

Source: docs/providers/sepay-orders.md, "Renewals".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from handlers.sepay.order_lines import cycle_days_of
from handlers.sepay.tables_licenses import (
    COMPLETED,
    LIVE_STATUSES,
    PAUSED,
    PENDING_ACTIVATION,
    RENEWAL_CANCELLED,
    RENEWING,
    PayUserSymbolLicense,
    SymbolAutoRenewSubscription,
)
from handlers.sepay.tables_orders import WALLET, PaySymbolOrder, PaySymbolOrderItem
from schemas.sepay_events import RenewalChanged

if TYPE_CHECKING:
    from hub.deliver.context import Context

GRACE_HOURS: Final = 12
"""How long before the licence's end its renewal is tried first."""
RETRY_MINUTES: Final = 60
FAILURES_MAX: Final = 3
CALLED_OFF: Final = "called_off_by"
"""Where a subscription keeps who has paused or cancelled it; an order that was given up leaves no such mark."""


async def expect_renewals(order: PaySymbolOrder, items: Sequence[PaySymbolOrderItem], ctx: Context) -> None:
    """Note what an unpaid order wants renewed. What renews already keeps its terms until the order is paid."""
    for item in _wanted(items):
        found = await live_subscription(ctx, order.user_id, item.symbol_id)
        if found is None or found.status == PENDING_ACTIVATION:
            await _agree(found or _new(order, item, ctx), order, item, ctx)


async def follow_licenses(
    order: PaySymbolOrder,
    items: Sequence[PaySymbolOrderItem],
    licenses: Sequence[PayUserSymbolLicense],
    ctx: Context,
) -> int:
    """A paid order has given these licences: start the renewals it asks for, move those that run; says how many.

    What the user has paused or cancelled since the order was made stays so: the later word counts.
    """
    wanted = {item.symbol_id: item for item in _wanted(items)}
    updated = 0
    for license in licenses:
        found = await live_subscription(ctx, order.user_id, license.symbol_id)
        item = wanted.get(license.symbol_id)
        if item is not None and not await _was_called_off(order, item.symbol_id, ctx):
            found = found or _new(order, item, ctx)
            await _agree(found, order, item, ctx)
            found.status, found.consecutive_failures = RENEWING, 0
        if found is not None and found.status == RENEWING:
            await _follow(found, license, ctx)
            updated += 1
    return updated


async def give_up_expected(order: PaySymbolOrder, ctx: Context) -> None:
    """The order will never be paid: what it wanted renewed is off."""
    waiting = select(SymbolAutoRenewSubscription).where(
        SymbolAutoRenewSubscription.last_order_id == order.order_id,
        SymbolAutoRenewSubscription.status == PENDING_ACTIVATION,
    )
    for one in await ctx.session.scalars(waiting.with_for_update()):
        one.status, one.updated_at = RENEWAL_CANCELLED, ctx.now
        await tell("renewal.cancelled", one, ctx)


async def live_subscription(ctx: Context, user_id: str, symbol_id: int) -> SymbolAutoRenewSubscription | None:
    """The user's subscription that may still renew this symbol, locked; there is one at most."""
    return await ctx.session.scalar(
        select(SymbolAutoRenewSubscription)
        .where(
            SymbolAutoRenewSubscription.user_id == user_id,
            SymbolAutoRenewSubscription.symbol_id == symbol_id,
            SymbolAutoRenewSubscription.status.in_(LIVE_STATUSES),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def billing_at(end_at: datetime, grace_hours: int, now: datetime) -> datetime:
    """When a licence that ends then is renewed: some hours before; at its end, or now, when that is too late already.

    Never before now: the sweep knows a renewal by its instant, and would take one it has seen for a repeat.
    """
    early = end_at - timedelta(hours=grace_hours)
    return early if early > now else max(end_at, now)


async def tell(
    type_: str,
    subscription: SymbolAutoRenewSubscription,
    ctx: Context,
    *,
    order_id: UUID | None = None,
    reason: str | None = None,
) -> None:
    """Let everybody who listens know what has become of a renewal."""
    message = RenewalChanged(
        subscription_id=subscription.subscription_id,
        user_id=subscription.user_id,
        symbol_id=subscription.symbol_id,
        status=subscription.status,
        price=subscription.price_minor,
        order_id=order_id,
        reason=reason,
        next_billing_at=subscription.next_billing_at,
    )
    await ctx.emit(type_, message, key=subscription.user_id)


async def _follow(subscription: SymbolAutoRenewSubscription, license: PayUserSymbolLicense, ctx: Context) -> None:
    license.subscription_id = subscription.subscription_id
    subscription.current_license_id = license.license_id
    subscription.updated_at = ctx.now
    if license.end_at is None:
        # Nothing is left to renew.
        subscription.status, subscription.next_billing_at = COMPLETED, None
        await tell("renewal.completed", subscription, ctx)
    else:
        subscription.next_billing_at = billing_at(license.end_at, subscription.grace_period_hours, ctx.now)


async def _was_called_off(order: PaySymbolOrder, symbol_id: int, ctx: Context) -> bool:
    """Whether the user has paused or cancelled the renewal of this symbol after the order was made."""
    called_off = await ctx.session.scalars(
        select(SymbolAutoRenewSubscription).where(
            SymbolAutoRenewSubscription.user_id == order.user_id,
            SymbolAutoRenewSubscription.symbol_id == symbol_id,
            SymbolAutoRenewSubscription.status.in_((PAUSED, RENEWAL_CANCELLED)),
            SymbolAutoRenewSubscription.updated_at >= order.created_at,
        )
    )
    return any(one.details.get(CALLED_OFF) for one in called_off)


async def _agree(
    subscription: SymbolAutoRenewSubscription, order: PaySymbolOrder, item: PaySymbolOrderItem, ctx: Context
) -> None:
    subscription.price_minor = item.auto_renew_price_minor or item.price_minor
    subscription.cycle_days = cycle_days_of(item.license_days, item.cycle_days_override)
    subscription.last_order_id = order.order_id
    subscription.updated_at = ctx.now
    ctx.session.add(subscription)
    await ctx.session.flush()


def _new(order: PaySymbolOrder, item: PaySymbolOrderItem, ctx: Context) -> SymbolAutoRenewSubscription:
    return SymbolAutoRenewSubscription(
        subscription_id=ctx.new_id(),
        user_id=order.user_id,
        symbol_id=item.symbol_id,
        status=PENDING_ACTIVATION,
        payment_method=WALLET,
        consecutive_failures=0,
        grace_period_hours=GRACE_HOURS,
        retry_interval_minutes=RETRY_MINUTES,
        max_retry_attempts=FAILURES_MAX,
        details={},
        created_at=ctx.now,
    )


def _wanted(items: Sequence[PaySymbolOrderItem]) -> list[PaySymbolOrderItem]:
    # Of two items of one symbol the later one decides.
    return sorted({item.symbol_id: item for item in items if item.auto_renew}.values(), key=lambda item: item.symbol_id)
