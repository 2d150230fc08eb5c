"""What others hear of an exchange: its end on a queue, and every step of the points as loyalty platforms read it.

Source: docs/providers/paypay.md, "Messages".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from handlers.paypay.books import POINT
from handlers.paypay.members import members
from handlers.paypay.tables import PayPayCashback, PayPayReversal
from hub.capability import handler
from schemas.loyalty import LoyaltyEvent, LoyaltyKind
from schemas.paypay_exchange import CashbackResult, CashbackReversed, PointsMoved

if TYPE_CHECKING:
    from hub.deliver.context import Context

Step: TypeAlias = Literal["held", "spent", "released", "returned"]
SUCCEEDED: Final = "paypay.cashback.succeeded"
FAILED: Final = "paypay.cashback.failed"
REVERSED: Final = "paypay.cashback.reversed"
KINDS: Final[Mapping[str, LoyaltyKind]] = {
    "paypay.points.held": "loyalty.points.held",
    "paypay.points.spent": "loyalty.points.spent",
    "paypay.points.released": "loyalty.points.released",
    "paypay.points.returned": "loyalty.points.returned",
}
"""Event type → what loyalty platforms call it."""


@handler
async def announce_points(moved: PointsMoved, ctx: Context) -> None:
    """Tell loyalty platforms what an exchange did to a member's points, in order per member."""
    event = LoyaltyEvent(
        event_id=ctx.event.id,
        occurred_at=moved.occurred_at,
        member_id=moved.member_id,
        kind=KINDS[ctx.event.type],
        currency=POINT,
        amount_minor=moved.points,
        balance_after_minor=moved.balance_after,
        reference=moved.reference,
        source="paypay",
        trace_id=ctx.event.trace_id,
    )
    await ctx.publish(event, routing_key=event.kind, key=event.member_id)


async def tell_points(step: Step, row: PayPayCashback, points: int, reference: str, ctx: Context) -> None:
    """An internal event: so many points of a member were held, spent, released or returned."""
    moved = PointsMoved(
        request_id=row.id,
        member_id=row.member_id,
        points=points,
        balance_after=await members(ctx.settings).available(ctx, row.member_id),
        reference=reference,
        occurred_at=ctx.now,
    )
    await ctx.emit(f"paypay.points.{step}", moved, key=row.member_id, dedupe_id=f"{step}/{reference}")


async def tell_end(
    row: PayPayCashback, reason: str, ended_at: datetime, ctx: Context, *, is_corrected: bool = False
) -> None:
    """An internal event that the wiring publishes: the exchange has succeeded or failed.

    ``is_corrected``: the opposite was told before.
    """
    is_paid = row.status == "SUCCESS"
    result = CashbackResult(
        request_id=row.id,
        merchant_cashback_id=row.merchant_cashback_id,
        member_id=row.member_id,
        device_type=row.device_type,
        points=row.points,
        amount_jpy=row.amount_jpy,
        status=row.status,
        reason=reason,
        cashback_id=row.cashback_id,
        ended_at=ended_at,
    )
    end = f"end/{row.id}/corrected" if is_corrected else f"end/{row.id}"
    await ctx.emit(SUCCEEDED if is_paid else FAILED, result, key=row.member_id, dedupe_id=end)


async def tell_reversal(row: PayPayCashback, reversal: PayPayReversal, ctx: Context) -> None:
    """An internal event that the wiring publishes: yen were taken back."""
    told = CashbackReversed(
        request_id=row.id,
        reversal_id=reversal.id,
        merchant_cashback_id=row.merchant_cashback_id,
        merchant_cashback_reversal_id=reversal.merchant_cashback_reversal_id,
        member_id=row.member_id,
        points=reversal.returned_points,
        amount_jpy=reversal.reversed_amount_jpy,
        reason=reversal.reason,
        operator=reversal.operator,
        ended_at=ctx.now,
    )
    await ctx.emit(REVERSED, told, key=row.member_id, dedupe_id=f"reversed/{reversal.id}")
