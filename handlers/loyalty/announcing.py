"""The messages that loyalty platforms read: one envelope for everything (``schemas/loyalty.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from handlers.loyalty.books import BONUS
from hub.capability import handler
from hub.money import Money
from schemas.loyalty import LoyaltyEvent, LoyaltyKind
from schemas.paypal import PaymentChanged
from schemas.sepay import WalletCredited
from schemas.sepay_events import LicenseChanged, OrderPaid

if TYPE_CHECKING:
    from hub.deliver.context import Context

LICENSE_KINDS: Final[Mapping[str, LoyaltyKind]] = {
    "license.activated": "loyalty.license.activated",
    "license.extended": "loyalty.license.extended",
    "license.expired": "loyalty.license.expired",
}
SUBSCRIPTION_KINDS: Final[Mapping[str, LoyaltyKind]] = {
    "paypal.payment.settled": "loyalty.subscription.paid",
    "paypal.payment.refunded": "loyalty.subscription.refunded",
}
"""Event type → what loyalty platforms call it."""


@handler
async def announce_wallet_credit(credited: WalletCredited, ctx: Context) -> None:
    """Tell loyalty platforms that money has arrived in a member's wallet."""
    event = LoyaltyEvent(
        event_id=ctx.event.id,
        occurred_at=ctx.event.occurred_at,
        member_id=credited.user_id,
        kind="loyalty.wallet.credited",
        currency=credited.currency,
        amount_minor=credited.amount,
        balance_after_minor=credited.balance_after,
        reference=f"sepay:payment:{credited.payment_id}",
        source="sepay",
        trace_id=ctx.event.trace_id,
    )
    await announce(event, ctx)


@handler
async def announce_order(paid: OrderPaid, ctx: Context) -> None:
    """Tell loyalty platforms that a member's order has been paid, from the wallet or by bank transfer."""
    event = LoyaltyEvent(
        event_id=ctx.event.id,
        occurred_at=ctx.event.occurred_at,
        member_id=paid.user_id,
        kind="loyalty.order.paid",
        currency="VND",
        amount_minor=paid.total_amount,
        reference=f"sepay:order:{paid.order_id}",
        source="sepay",
        trace_id=ctx.event.trace_id,
    )
    await announce(event, ctx)


@handler
async def announce_license(changed: LicenseChanged, ctx: Context) -> None:
    """Tell loyalty platforms that a member's licence was activated, extended or has expired."""
    event = LoyaltyEvent(
        event_id=ctx.event.id,
        occurred_at=ctx.event.occurred_at,
        member_id=changed.user_id,
        kind=LICENSE_KINDS[ctx.event.type],
        reference=f"sepay:license:{changed.license_id}",
        source="sepay",
        trace_id=ctx.event.trace_id,
    )
    await announce(event, ctx)


@handler
async def announce_subscription(changed: PaymentChanged, ctx: Context) -> None:
    """Tell loyalty platforms that a subscription's payment was booked, or that money of it went back."""
    member = changed.custom_id or changed.subscription_id or changed.payment_id
    event = LoyaltyEvent(
        event_id=ctx.event.id,
        occurred_at=ctx.event.occurred_at,
        member_id=member,
        kind=SUBSCRIPTION_KINDS[ctx.event.type],
        currency=changed.currency,
        amount_minor=changed.amount_minor,
        reference=f"paypal:{changed.reference}",
        source="paypal",
        trace_id=ctx.event.trace_id,
    )
    await announce(event, ctx)


async def announce_bonuses(
    kind: LoyaltyKind,
    ctx: Context,
    *,
    member_id: str,
    reference: str,
    change_minor: int,
    balance: Money | None,
    other_member_id: str | None = None,
) -> None:
    """Tell loyalty platforms that a member's bonuses have changed."""
    event = LoyaltyEvent(
        event_id=ctx.new_id(),
        occurred_at=ctx.event.occurred_at,
        member_id=member_id,
        other_member_id=other_member_id,
        kind=kind,
        currency=BONUS,
        amount_minor=change_minor,
        balance_after_minor=None if balance is None else balance.amount_minor,
        reference=reference,
        source="loymax",
        trace_id=ctx.event.trace_id,
    )
    await announce(event, ctx)


async def announce(event: LoyaltyEvent, ctx: Context) -> None:
    """Publish it under its kind, in order per member."""
    await ctx.publish(event, routing_key=event.kind, key=event.member_id)
