"""The messages that loyalty platforms read: one envelope for everything (``schemas/loyalty.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from handlers.loyalty.books import BONUS
from hub.capability import handler
from hub.money import Money
from schemas.loyalty import LoyaltyEvent, LoyaltyKind
from schemas.sepay import WalletCredited

if TYPE_CHECKING:
    from hub.deliver.context import Context


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
