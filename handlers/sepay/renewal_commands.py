"""A user pauses, resumes or cancels a renewal. Source: docs/providers/sepay-orders.md, "Renewals"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from handlers.sepay.books import VND
from handlers.sepay.history import subscription_reply
from handlers.sepay.licenses import open_license
from handlers.sepay.subscriptions import CALLED_OFF, billing_at, live_subscription, tell
from handlers.sepay.tables_licenses import (
    LICENSE_SUSPENDED,
    LIVE_STATUSES,
    PAUSED,
    RENEWAL_CANCELLED,
    RENEWAL_SUSPENDED,
    RENEWING,
    SymbolAutoRenewSubscription,
)
from handlers.sepay.wallets import wallet_for_update
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.sepay_orders import RenewalCommand, SubscriptionReply

if TYPE_CHECKING:
    from hub.deliver.context import Context

RESUMABLE: Final = (PAUSED, RENEWAL_SUSPENDED)
CANCELLABLE: Final = (*LIVE_STATUSES, RENEWAL_SUSPENDED)


@handler
async def pause_renewal(command: RenewalCommand, ctx: Context) -> SubscriptionReply:
    """Renew nothing until the user resumes.

    Raises RefusedCommand (subscription_not_found, wrong_subscription_status), as the other two do.
    """
    subscription = await _own(command, ctx, (RENEWING,))
    subscription.status, subscription.next_billing_at = PAUSED, None
    subscription.details = {**subscription.details, CALLED_OFF: command.user_id}
    return await _changed("renewal.paused", subscription, ctx)


@handler
async def resume_renewal(command: RenewalCommand, ctx: Context) -> SubscriptionReply:
    """Renew again: before the licence ends, or with the next sweep when it has ended."""
    subscription = await _own(command, ctx, RESUMABLE)
    other = await live_subscription(ctx, subscription.user_id, subscription.symbol_id)
    if other is not None and other is not subscription:
        raise RefusedCommand("wrong_subscription_status", "Another subscription renews this symbol")
    license = await open_license(ctx, subscription.user_id, subscription.symbol_id)
    if license is not None and license.status == LICENSE_SUSPENDED:
        raise RefusedCommand("wrong_subscription_status", "The licence is suspended")
    subscription.status, subscription.consecutive_failures = RENEWING, 0
    if license is None:
        subscription.next_billing_at = ctx.now
    elif license.end_at is None:
        raise RefusedCommand("wrong_subscription_status", "The licence has no end: nothing is left to renew")
    else:
        subscription.next_billing_at = billing_at(license.end_at, subscription.grace_period_hours, ctx.now)
    return await _changed("renewal.resumed", subscription, ctx)


@handler
async def cancel_renewal(command: RenewalCommand, ctx: Context) -> SubscriptionReply:
    """Renew never again; the licence stays until its end."""
    subscription = await _own(command, ctx, CANCELLABLE)
    subscription.status, subscription.next_billing_at = RENEWAL_CANCELLED, None
    subscription.details = {**subscription.details, CALLED_OFF: command.user_id}
    return await _changed("renewal.cancelled", subscription, ctx)


async def _own(command: RenewalCommand, ctx: Context, allowed: tuple[str, ...]) -> SymbolAutoRenewSubscription:
    await wallet_for_update(ctx, command.user_id, VND)
    found = await ctx.session.scalar(
        select(SymbolAutoRenewSubscription)
        .where(
            SymbolAutoRenewSubscription.subscription_id == command.subscription_id,
            SymbolAutoRenewSubscription.user_id == command.user_id,
        )
        .with_for_update()
    )
    if found is None:
        raise RefusedCommand("subscription_not_found", "Subscription not found")
    if found.status not in allowed:
        raise RefusedCommand("wrong_subscription_status", f"Subscription is {found.status}")
    ctx.tag("user_id", command.user_id)
    ctx.tag("subscription_id", str(command.subscription_id))
    return found


async def _changed(type_: str, subscription: SymbolAutoRenewSubscription, ctx: Context) -> SubscriptionReply:
    subscription.updated_at = ctx.now
    await ctx.session.flush()
    await tell(type_, subscription, ctx)
    ctx.conclude(subscription.status)
    return subscription_reply(subscription)
