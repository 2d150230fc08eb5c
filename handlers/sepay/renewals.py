"""Renewing licences from the wallet: a sweep finds what is due, each subscription is then an event of its own.

A renewal is an ordinary order that the wallet pays; it is tried again after an hour, and suspended after three failures
in a row. Source: docs/providers/sepay-orders.md, "Renewals".
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from handlers.sepay.books import VND, wallet_account
from handlers.sepay.catalogue import load_catalogue
from handlers.sepay.licenses import open_license
from handlers.sepay.locking import lock_together
from handlers.sepay.order_lines import OrderLine
from handlers.sepay.orders import OrderPlan, add_order
from handlers.sepay.paying import charge_wallet
from handlers.sepay.subscriptions import tell
from handlers.sepay.tables import PayWallet
from handlers.sepay.tables_licenses import (
    LICENSE_SUSPENDED,
    RENEWAL_SUSPENDED,
    RENEWING,
    SymbolAutoRenewAttempt,
    SymbolAutoRenewSubscription,
)
from handlers.sepay.tables_orders import WALLET
from handlers.sepay.wallets import wallet_for_update
from hub.capability import handler
from hub.event import Event
from schemas.sepay_events import RenewalDue

if TYPE_CHECKING:
    from hub.deliver.context import Context

PER_RUN_MAX: Final = 5_000
"""How many subscriptions one sweep looks at; the next one goes on."""


@handler
async def sweep_renewals(event: Event, ctx: Context) -> None:
    """Emit one event per subscription that is due, under an id that names the instant: a repeat is recognised."""
    due = (
        select(SymbolAutoRenewSubscription)
        .where(SymbolAutoRenewSubscription.status == RENEWING, SymbolAutoRenewSubscription.next_billing_at <= ctx.now)
        # The latest first: what cannot be renewed, and stays due, must not stand before all others for ever.
        .order_by(SymbolAutoRenewSubscription.next_billing_at.desc())
        .limit(PER_RUN_MAX)
    )
    found = (await ctx.session.scalars(due)).all()
    for one in found:
        assert one.next_billing_at is not None
        message = RenewalDue(subscription_id=one.subscription_id, user_id=one.user_id, due_at=one.next_billing_at)
        await ctx.emit(
            "sepay.renewal.due",
            message,
            key=one.user_id,
            dedupe_id=f"renewal/{one.subscription_id}/{one.next_billing_at.isoformat()}",
        )
    ctx.conclude("due" if found else "nothing_due")


@handler(ahead=lock_together)
async def renew_license(due: RenewalDue, ctx: Context) -> None:
    """Renew one licence from the wallet, or note why that failed. Running it again charges nothing twice."""
    ctx.tag("user_id", due.user_id)
    ctx.tag("subscription_id", str(due.subscription_id))
    # The wallet before the subscription, as everywhere: it stands for its user.
    wallet = await wallet_for_update(ctx, due.user_id, VND)
    subscription = await ctx.session.get(
        SymbolAutoRenewSubscription, due.subscription_id, with_for_update=True, populate_existing=True
    )
    if subscription is None or subscription.status != RENEWING or subscription.next_billing_at != due.due_at:
        ctx.conclude("no_longer_due")
        return
    balance = (await ctx.ledger.balance(wallet_account(wallet.id))).amount_minor
    subscription.last_attempt_at = subscription.updated_at = ctx.now
    if subscription.payment_method != WALLET:
        await _skip(subscription, balance, ctx)
    elif not (await load_catalogue(ctx.session, [subscription.symbol_id])).sells(subscription.symbol_id):
        await _suspend(subscription, "symbol_not_found", balance, ctx)
    elif await _is_suspended(subscription, ctx):
        await _suspend(subscription, "license_suspended", balance, ctx)
    elif not wallet.is_active:
        await _fail(subscription, "wallet_suspended", balance, ctx)
    elif balance < subscription.price_minor:
        await _fail(subscription, "insufficient_balance", balance, ctx)
    else:
        await _renew(subscription, wallet, balance, ctx)
    await ctx.session.flush()


async def _is_suspended(subscription: SymbolAutoRenewSubscription, ctx: Context) -> bool:
    license = await open_license(ctx, subscription.user_id, subscription.symbol_id)
    return license is not None and license.status == LICENSE_SUSPENDED


async def _renew(subscription: SymbolAutoRenewSubscription, wallet: PayWallet, balance: int, ctx: Context) -> None:
    line = OrderLine(
        symbol_id=subscription.symbol_id,
        price_minor=subscription.price_minor,
        license_days=subscription.cycle_days,
        metadata={"subscription_id": str(subscription.subscription_id)},
        auto_renew=True,
        renew_price_minor=None,
        renew_days=None,
    )
    order = await add_order(OrderPlan(subscription.user_id, [line], WALLET, "Automatic renewal"), ctx)
    # Paying lets this subscription follow the licence: its next instant comes from the new end.
    await charge_wallet(order, wallet, ctx, note=f"Automatic renewal {subscription.subscription_id}")
    subscription.last_success_at = ctx.now
    _attempt(subscription, "success", balance, ctx, order_id=order.order_id)
    await tell("renewal.succeeded", subscription, ctx, order_id=order.order_id)
    ctx.conclude("renewed")


async def _fail(subscription: SymbolAutoRenewSubscription, reason: str, balance: int, ctx: Context) -> None:
    if subscription.consecutive_failures + 1 >= subscription.max_retry_attempts:
        await _suspend(subscription, reason, balance, ctx)
        return
    subscription.consecutive_failures += 1
    _attempt(subscription, "failed", balance, ctx, reason=reason)
    subscription.next_billing_at = ctx.now + timedelta(minutes=subscription.retry_interval_minutes)
    await tell("renewal.failed", subscription, ctx, reason=reason)
    ctx.conclude(reason)


async def _suspend(subscription: SymbolAutoRenewSubscription, reason: str, balance: int, ctx: Context) -> None:
    """Try no more until the user resumes: it has failed too often, or what it renews is no longer sold."""
    subscription.consecutive_failures += 1
    _attempt(subscription, "failed", balance, ctx, reason=reason)
    subscription.status, subscription.next_billing_at = RENEWAL_SUSPENDED, None
    await tell("renewal.suspended", subscription, ctx, reason=reason)
    ctx.conclude(reason)


async def _skip(subscription: SymbolAutoRenewSubscription, balance: int, ctx: Context) -> None:
    _attempt(subscription, "skipped", balance, ctx, reason=f"payment method {subscription.payment_method}")
    subscription.next_billing_at = ctx.now + timedelta(minutes=subscription.retry_interval_minutes)
    ctx.conclude("skipped")


def _attempt(
    subscription: SymbolAutoRenewSubscription,
    status: str,
    balance: int,
    ctx: Context,
    *,
    reason: str | None = None,
    order_id: UUID | None = None,
) -> None:
    ctx.session.add(
        SymbolAutoRenewAttempt(
            attempt_id=ctx.new_id(),
            subscription_id=subscription.subscription_id,
            order_id=order_id,
            status=status,
            fail_reason=reason,
            charged_minor=subscription.price_minor if order_id else None,
            balance_minor=balance,
            ran_at=ctx.now,
        )
    )
