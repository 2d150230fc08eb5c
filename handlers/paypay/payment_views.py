"""Payments, codes and refunds as the shop's backend sees them: without anybody's authorization id."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Text, cast, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.tables_payments import PayPayCode, PayPayPayment, PayPayRefund
from schemas.paypay import CodeView, PaymentView, RefundView


async def find_payment(session: AsyncSession, payment_id: UUID) -> PaymentView | None:
    """One payment with its refunds."""
    row = await session.get(PayPayPayment, payment_id)
    return None if row is None else PaymentView(**await _fields(session, row))


async def list_payments(
    session: AsyncSession, *, status: str | None, member_id: str | None, is_in_trouble: bool, limit: int
) -> Sequence[PaymentView]:
    """Payments with their refunds, newest first."""
    found = select(PayPayPayment).order_by(PayPayPayment.created_at.desc(), PayPayPayment.id.desc()).limit(limit)
    if status is not None:
        found = found.where(PayPayPayment.status == status)
    if member_id is not None:
        found = found.where(PayPayPayment.member_id == member_id)
    if is_in_trouble:
        found = found.where(cast(PayPayPayment.troubles, Text) != "{}")
    rows = (await session.scalars(found)).all()
    return [PaymentView(**await _fields(session, row)) for row in rows]


async def find_code(session: AsyncSession, payment_id: UUID) -> CodeView | None:
    """One QR code with its payment."""
    row, code = await session.get(PayPayPayment, payment_id), await session.get(PayPayCode, payment_id)
    if row is None or code is None:
        return None
    return CodeView(
        **await _fields(session, row),
        code_id=code.code_id,
        url=code.url,
        deeplink=code.deeplink,
        code_expires_at=code.expires_at,
    )


async def find_refund(session: AsyncSession, refund_id: UUID) -> RefundView | None:
    """One refund."""
    row = await session.get(PayPayRefund, refund_id)
    return None if row is None else refund_view(row)


def refund_view(row: PayPayRefund) -> RefundView:
    """A refund as it stands."""
    return RefundView(
        refund_id=row.id,
        payment_id=row.payment_id,
        merchant_refund_id=row.merchant_refund_id,
        amount_jpy=row.amount_jpy,
        reason=row.reason,
        status=row.status,
        result_code=row.result_code,
        requested_at=row.requested_at,
        refunded_at=row.done_at,
    )


async def _fields(session: AsyncSession, row: PayPayPayment) -> dict[str, object]:
    refunds = await session.scalars(
        select(PayPayRefund)
        .where(PayPayRefund.payment_id == row.id)
        .order_by(PayPayRefund.requested_at, PayPayRefund.id)
    )
    return {
        "payment_id": row.id,
        "kind": row.kind,
        "merchant_payment_id": row.merchant_payment_id,
        "paypay_payment_id": row.paypay_payment_id,
        "member_id": row.member_id,
        "amount_jpy": row.amount_jpy,
        "captured_jpy": row.captured_jpy,
        "refunded_jpy": row.refunded_jpy,
        "booked_as": row.booked_as,
        "is_authorization": row.is_authorization,
        "status": row.status,
        "result_code": row.result_code,
        "requested_at": row.requested_at,
        "expires_at": row.expires_at,
        "completed_at": row.completed_at,
        "ended_at": row.ended_at,
        "troubles": tuple(row.troubles),
        "refunds": tuple(refund_view(one) for one in refunds),
    }
