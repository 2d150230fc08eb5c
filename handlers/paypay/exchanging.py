"""A member exchanges points: who may, for how much, and what is set aside before PayPay hears of it.

The row, the hold and the event that sends it are written in one transaction; the call to PayPay comes later, in
``cashback.py``. Source: docs/providers/paypay.md, "Exchanging points".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from handlers.paypay.announcing import tell_points
from handlers.paypay.books import hold_reference
from handlers.paypay.conversions import checked_points, yen_for
from handlers.paypay.members import members
from handlers.paypay.sessions import settings_of, usable_session
from handlers.paypay.states import Status, is_confirmed, is_contradicted, next_sweep_at
from handlers.paypay.tables import PayPayCashback, PayPaySession
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.paypay_exchange import CashbackRequested, ExchangeBody, ExchangeReply, RetryOrder

if TYPE_CHECKING:
    from hub.deliver.context import Context

REQUESTED: Final = "paypay.cashback.requested"
DESCRIPTION: Final = "points exchange"
RETRY_KEY: Final = "retry-of-"


@dataclass(frozen=True, slots=True)
class Terms:
    """What one exchange is to be."""

    points: int
    idempotency_key: str
    parent_id: UUID | None = None


@handler
async def request_exchange(body: ExchangeBody, ctx: Context) -> ExchangeReply:
    """Hold the points and send the request on its way; answers with what PayPay will be asked.

    Raises RefusedCommand, and stores nothing then: POINTS_…, TOO_MANY_POINTS, UNKNOWN_DEVICE_TYPE, NOT_LINKED,
    AUTHORIZATION_EXPIRED, NO_BOOKING_IN_ONE_YEAR, NO_POINTS, NOT_ENOUGH_POINTS.
    """
    points = checked_points(body.points, points_max=settings_of(ctx).points_max)
    session = await usable_session(ctx, body.session_id, body.member_id)
    row = await _open(session, Terms(points, body.idempotency_key), ctx)
    return reply_of(row)


@handler
async def retry_exchange(order: RetryOrder, ctx: Context) -> ExchangeReply:
    """A failed exchange is tried again by an operator: a new row, a new id at PayPay, the points held anew.

    Only where PayPay itself has said FAILURE: what a person has settled as failed it may still pay.

    Raises RefusedCommand: NOT_FOUND, NOT_RETRYABLE (not FAILED, not by PayPay's word, or tried again before), and what
    an exchange raises.
    """
    failed = await cashback_for_update(ctx, order.request_id)
    if failed is None:
        raise RefusedCommand("NOT_FOUND", "no exchange has this id")
    if failed.state is not Status.FAILED:
        raise RefusedCommand("NOT_RETRYABLE", f"only a FAILED exchange can be tried again, this one is {failed.status}")
    if is_contradicted(failed.state, failed.paypay_status):
        raise RefusedCommand("NOT_RETRYABLE", "PayPay says that it was paid: settle it as succeeded, or take it back")
    if not is_confirmed(failed.state, failed.paypay_status):
        # A new id beside one that PayPay has not failed is a second grant.
        raise RefusedCommand("NOT_RETRYABLE", "a person said that it failed; PayPay, which is asked on, has not")
    again = await ctx.session.scalar(select(PayPayCashback.id).where(PayPayCashback.parent_id == failed.id))
    if again is not None:
        raise RefusedCommand("NOT_RETRYABLE", f"it was tried again as {again}")
    session = await usable_session(ctx, failed.session_id, failed.member_id)
    terms = Terms(failed.points, f"{RETRY_KEY}{failed.id}", failed.id)
    row = await _open(session, terms, ctx)
    ctx.tag("operator", order.operator)
    return reply_of(row)


async def _open(session: PayPaySession, terms: Terms, ctx: Context) -> PayPayCashback:
    settings = settings_of(ctx)
    amount_jpy = yen_for(terms.points, session.device_type)
    port = members(settings)
    if not await port.has_booked(
        ctx, session.member_id, since=a_year_before(ctx.now.astimezone(settings.zone)), until=ctx.now
    ):
        raise RefusedCommand("NO_BOOKING_IN_ONE_YEAR", "the member has no booking within one year")
    request_id = ctx.new_id()
    split = await port.hold(ctx, request_id, session.member_id, terms.points)
    row = PayPayCashback(
        id=request_id,
        merchant_cashback_id=f"cb-{request_id.hex}",
        parent_id=terms.parent_id,
        idempotency_key=terms.idempotency_key,
        member_id=session.member_id,
        session_id=session.id,
        user_authorization_id=session.user_authorization_id,
        device_type=session.device_type,
        points=terms.points,
        points_from_purchase=split.purchase,
        points_from_promotion=split.promotion,
        amount_jpy=amount_jpy,
        wallet_type=settings.credits,
        order_description=DESCRIPTION,
        status=Status.NEW,
        requested_at=ctx.now,
        attempts=0,
        check_count=0,
        absent_count=0,
        next_check_at=next_sweep_at(Status.NEW, ctx.now),
        created_at=ctx.now,
        updated_at=ctx.now,
    )
    ctx.session.add(row)
    await ctx.emit(REQUESTED, CashbackRequested(request_id=row.id), key=str(row.id))
    await tell_points("held", row, terms.points, hold_reference(row.id, 0), ctx)
    ctx.tag("member_id", row.member_id)
    ctx.tag("merchant_cashback_id", row.merchant_cashback_id)
    ctx.conclude("held")
    return row


async def cashback_for_update(ctx: Context, request_id: UUID) -> PayPayCashback | None:
    """The exchange, locked until the transaction ends."""
    found = select(PayPayCashback).where(PayPayCashback.id == request_id).with_for_update()
    row: PayPayCashback | None = await ctx.session.scalar(found)
    return row


def a_year_before(local: datetime) -> datetime:
    """The same time of day a year ago; for 29 February the last of February."""
    try:
        return local.replace(year=local.year - 1)
    except ValueError:
        return local.replace(year=local.year - 1, day=28)


def reply_of(row: PayPayCashback) -> ExchangeReply:
    """The answer to whoever asked for the exchange."""
    return ExchangeReply(
        request_id=row.id,
        merchant_cashback_id=row.merchant_cashback_id,
        amount_jpy=row.amount_jpy,
        status=row.status,
    )
