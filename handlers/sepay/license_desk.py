"""An operator suspends, restores or revokes a licence; a refund takes back what an order gave.

A suspended licence gives no access and goes on ageing; what is bought meanwhile extends it. Source:
docs/providers/sepay-orders.md, "Licences".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from handlers.sepay.books import VND
from handlers.sepay.licenses import open_license, tell
from handlers.sepay.subscriptions import CALLED_OFF, billing_at, live_subscription
from handlers.sepay.subscriptions import tell as tell_of_renewal
from handlers.sepay.tables_licenses import (
    LICENSE_ACTIVE,
    LICENSE_REVOKED,
    LICENSE_SUSPENDED,
    RENEWAL_CANCELLED,
    RENEWING,
    PayUserSymbolLicense,
)
from handlers.sepay.tables_orders import PaySymbolOrder, PaySymbolOrderItem
from handlers.sepay.wallets import wallet_for_update
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.sepay_desk import LicenseOrder
from schemas.sepay_orders import LicenseReply

if TYPE_CHECKING:
    from hub.deliver.context import Context


@handler
async def suspend_license(order: LicenseOrder, ctx: Context) -> LicenseReply:
    """Refuse access until the licence is restored.

    Raises RefusedCommand (license_not_found, wrong_license_status), as the other two do.
    """
    license = await _locked(order, (LICENSE_ACTIVE,), ctx)
    license.status = LICENSE_SUSPENDED
    return await _changed("license.suspended", license, ctx)


@handler
async def restore_license(order: LicenseOrder, ctx: Context) -> LicenseReply:
    """Give access again, until the end that the licence has."""
    license = await _locked(order, (LICENSE_SUSPENDED,), ctx)
    if await open_license(ctx, license.user_id, license.symbol_id) is not license:
        raise RefusedCommand("wrong_license_status", "the user has another active licence of this symbol")
    license.status = LICENSE_ACTIVE
    return await _changed("license.restored", license, ctx)


@handler
async def revoke_license(order: LicenseOrder, ctx: Context) -> LicenseReply:
    """End a licence for ever, and its renewal with it. No money moves."""
    license = await _locked(order, (LICENSE_ACTIVE, LICENSE_SUSPENDED), ctx)
    return await _revoke(license, ctx)


async def take_back(order: PaySymbolOrder, items: Sequence[PaySymbolOrderItem], ctx: Context) -> None:
    """Take back the time that an order has given; a licence of which nothing is left is revoked.

    Of a licence for ever nothing is left, whatever was bought before it. The user's wallet must be locked.
    """
    for symbol_id in sorted({item.symbol_id for item in items}):
        license = await open_license(ctx, order.user_id, symbol_id)
        if license is None or (order.paid_at is not None and license.created_at > order.paid_at):
            # What the order gave has ended by itself; this licence is another order's.
            continue
        terms = [item.license_days for item in items if item.symbol_id == symbol_id]
        if license.end_at is None:
            if None in terms:
                await _revoke(license, ctx)
            continue
        end_at = license.end_at - timedelta(days=sum(days or 0 for days in terms))
        if end_at <= max(ctx.now, license.start_at):
            await _revoke(license, ctx)
            continue
        license.end_at = end_at
        await _changed("license.shortened", license, ctx)
        subscription = await live_subscription(ctx, license.user_id, symbol_id)
        if subscription is not None and subscription.status == RENEWING:
            subscription.next_billing_at = billing_at(end_at, subscription.grace_period_hours, ctx.now)
            subscription.updated_at = ctx.now


async def _locked(order: LicenseOrder, allowed: Sequence[str], ctx: Context) -> PayUserSymbolLicense:
    found = await ctx.session.get(PayUserSymbolLicense, order.license_id)
    if found is None:
        raise RefusedCommand("license_not_found", f"there is no licence {order.license_id}")
    # The wallet stands for its user: nothing that the user owns changes meanwhile.
    await wallet_for_update(ctx, found.user_id, VND)
    await ctx.session.refresh(found, with_for_update=True)
    if found.status not in allowed:
        raise RefusedCommand("wrong_license_status", f"licence {order.license_id} is {found.status}")
    ctx.tag("user_id", found.user_id)
    return found


async def _revoke(license: PayUserSymbolLicense, ctx: Context) -> LicenseReply:
    license.status = LICENSE_REVOKED
    reply = await _changed("license.revoked", license, ctx)
    subscription = await live_subscription(ctx, license.user_id, license.symbol_id)
    if subscription is not None:
        subscription.status, subscription.next_billing_at = RENEWAL_CANCELLED, None
        subscription.details = {**subscription.details, CALLED_OFF: "operator"}
        subscription.updated_at = ctx.now
        await tell_of_renewal("renewal.cancelled", subscription, ctx, reason="license_revoked")
    return reply


async def _changed(type_: str, license: PayUserSymbolLicense, ctx: Context) -> LicenseReply:
    license.updated_at = ctx.now
    await ctx.session.flush()
    await tell(type_, license, ctx)
    ctx.conclude(license.status)
    return LicenseReply(
        license_id=license.license_id,
        symbol_id=license.symbol_id,
        status=license.status,
        start_at=license.start_at,
        end_at=license.end_at,
        is_lifetime=license.end_at is None,
        is_active=license.is_open(ctx.now),
        order_id=license.order_id,
        created_at=license.created_at,
    )
