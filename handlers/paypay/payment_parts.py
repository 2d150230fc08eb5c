"""Captures, reverts and refunds of a payment: how they begin, and what a look says of those that are in doubt.

Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar
from uuid import UUID

from sqlalchemy import func, select

from handlers.paypay.payment_words import PaymentStatus
from handlers.paypay.tables_payments import (
    DONE,
    OPEN_PARTS,
    REFUSED,
    SENT_NEW,
    PayPayCapture,
    PayPayPayment,
    PayPayRefund,
    PayPayRevert,
)

if TYPE_CHECKING:
    from hub.deliver.context import Context

S: Final = PaymentStatus
Part: TypeAlias = PayPayCapture | PayPayRevert | PayPayRefund
P = TypeVar("P", PayPayCapture, PayPayRevert, PayPayRefund)
REVERT_KEY: Final = "revert"
CONFIRMATION: Final = timedelta(hours=6)
"""How long PayPay waits for a user who must confirm a capture."""


def open_part(part: Part, part_id: UUID, payment_id: UUID, key: str, ctx: Context) -> None:
    """A capture, revert or refund begins."""
    part.id, part.payment_id, part.idempotency_key = part_id, payment_id, key
    part.status, part.attempts, part.looks, part.requested_at = SENT_NEW, 0, 0, ctx.now
    ctx.session.add(part)


async def find_part(table: type[P], payment_id: UUID, key: str, ctx: Context) -> P | None:
    """What was asked for under this key."""
    found = select(table).where(table.payment_id == payment_id, table.idempotency_key == key)
    part: P | None = await ctx.session.scalar(found)
    return part


async def is_any_open(table: type[P], payment_id: UUID, ctx: Context) -> bool:
    """Whether one of these is under way."""
    found = select(table.id).where(table.payment_id == payment_id, table.status.in_(OPEN_PARTS)).limit(1)
    return await ctx.session.scalar(found) is not None


async def revert_again_key(row: PayPayPayment, ctx: Context) -> str:
    """The key of the next revert: after one that was refused there may be another."""
    made = await ctx.session.scalar(
        select(func.count()).select_from(PayPayRevert).where(PayPayRevert.payment_id == row.id)
    )
    return REVERT_KEY if not made else f"{REVERT_KEY}-{made + 1}"


async def close_open_parts(row: PayPayPayment, ctx: Context) -> None:
    """The payment has ended: what of it was under way is done, or never will be. A refund has its own end."""
    await close_parts(PayPayCapture, row, ctx, is_done=row.state.is_paid)
    await close_parts(PayPayRevert, row, ctx, is_done=row.state is S.CANCELED)


async def close_parts(table: type[P], row: PayPayPayment, ctx: Context, *, is_done: bool) -> None:
    """What is under way of these is done, or is over; what of it is on its way still is not sent any more."""
    parts = select(table).where(table.payment_id == row.id, table.status.in_(OPEN_PARTS))
    for part in (await ctx.session.scalars(parts)).all():
        part.status, part.done_at = (DONE if is_done else REFUSED), ctx.now
