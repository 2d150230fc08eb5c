"""Exchanges and reversals as people and the shop's backend see them: without anybody's authorization id."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.states import Status
from handlers.paypay.tables import PayPayCashback, PayPayReversal
from handlers.paypay.tables_members import PointLot
from schemas.paypay_exchange import CashbackView


async def find_exchange(session: AsyncSession, request_id: UUID) -> CashbackView | None:
    """One exchange, with what was taken back of it."""
    row = await session.get(PayPayCashback, request_id)
    return None if row is None else _view(row, (await _reversed(session, [row.id])).get(row.id, 0))


async def find_by_key(session: AsyncSession, member_id: str, idempotency_key: str) -> PayPayCashback | None:
    """The exchange that a member asked for under this key."""
    found = select(PayPayCashback).where(
        PayPayCashback.member_id == member_id, PayPayCashback.idempotency_key == idempotency_key
    )
    row: PayPayCashback | None = await session.scalar(found)
    return row


async def find_reversal_by_key(session: AsyncSession, request_id: UUID, idempotency_key: str) -> PayPayReversal | None:
    """The reversal of an exchange that was ordered under this key."""
    found = select(PayPayReversal).where(
        PayPayReversal.cashback_request_id == request_id, PayPayReversal.idempotency_key == idempotency_key
    )
    row: PayPayReversal | None = await session.scalar(found)
    return row


async def list_exchanges(
    session: AsyncSession, *, statuses: Sequence[str] = (), member_id: str | None = None, limit: int
) -> Sequence[CashbackView]:
    """Exchanges, newest first."""
    found = select(PayPayCashback).order_by(PayPayCashback.created_at.desc(), PayPayCashback.id.desc()).limit(limit)
    if statuses:
        found = found.where(PayPayCashback.status.in_(statuses))
    if member_id is not None:
        found = found.where(PayPayCashback.member_id == member_id)
    rows = (await session.scalars(found)).all()
    taken = await _reversed(session, [row.id for row in rows])
    return [_view(row, taken.get(row.id, 0)) for row in rows]


async def list_reversals(
    session: AsyncSession, *, statuses: Sequence[str] = (), limit: int
) -> Sequence[PayPayReversal]:
    """Reversals, newest first."""
    found = select(PayPayReversal).order_by(PayPayReversal.created_at.desc(), PayPayReversal.id.desc()).limit(limit)
    if statuses:
        found = found.where(PayPayReversal.status.in_(statuses))
    return (await session.scalars(found)).all()


async def lots_of(session: AsyncSession, member_id: str) -> Sequence[PointLot]:
    """Where a member's points lie, those that end first at the top."""
    found = select(PointLot).where(PointLot.member_id == member_id).order_by(PointLot.last_day, PointLot.id)
    return (await session.scalars(found)).all()


async def _reversed(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, int]:
    if not ids:
        return {}
    sums = await session.execute(
        select(PayPayReversal.cashback_request_id, func.sum(PayPayReversal.reversed_amount_jpy))
        .where(PayPayReversal.cashback_request_id.in_(ids), PayPayReversal.status == Status.SUCCESS)
        .group_by(PayPayReversal.cashback_request_id)
    )
    return {request_id: int(amount) for request_id, amount in sums}


def _view(row: PayPayCashback, reversed_amount_jpy: int) -> CashbackView:
    return CashbackView(
        request_id=row.id,
        merchant_cashback_id=row.merchant_cashback_id,
        parent_id=row.parent_id,
        member_id=row.member_id,
        session_id=row.session_id,
        device_type=row.device_type,
        points=row.points,
        points_from_purchase=row.points_from_purchase,
        points_from_promotion=row.points_from_promotion,
        amount_jpy=row.amount_jpy,
        status=row.status,
        paypay_status=row.paypay_status,
        result_code=row.result_code,
        cashback_id=row.cashback_id,
        reversed_amount_jpy=reversed_amount_jpy,
        requested_at=row.requested_at,
        accepted_at=row.accepted_at,
        succeeded_at=row.succeeded_at,
        updated_at=row.updated_at,
    )
