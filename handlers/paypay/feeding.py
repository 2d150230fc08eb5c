"""What the shop tells the hub of its members, where the hub itself keeps their bookings and points.

Source: docs/providers/paypay.md, "Members and their points".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, update

from handlers.paypay.books import ISSUED, grant_reference, points
from handlers.paypay.members import account_of
from handlers.paypay.tables_members import NEVER, MemberBooking, PointLot
from hub.capability import handler
from hub.ledger import Move
from hub.store.upserts import insert_for
from schemas.paypay_exchange import BookingCancelled, BookingMade, PointsGranted

if TYPE_CHECKING:
    from hub.deliver.context import Context


@handler
async def grant_points(grant: PointsGranted, ctx: Context) -> int:
    """Give a member points, once per ``grant_id``; answers what the lot that they go to holds then."""
    ctx.tag("member_id", grant.member_id)
    lot = await _lot(grant, ctx)
    account, reference = account_of(lot), grant_reference(grant.grant_id)
    if await ctx.ledger.find(reference) is not None:
        ctx.conclude("granted_before")
    else:
        await ctx.ledger.post(
            reference, "points-grant", [Move(debit=ISSUED, credit=account, amount=points(grant.points))]
        )
        ctx.conclude("granted")
    return (await ctx.ledger.balance(account)).amount_minor


@handler
async def book(made: BookingMade, ctx: Context) -> None:
    """Remember a booking. The same booking again changes nothing."""
    await _remember(made.booking_id, made.member_id, ctx, booked_at=made.booked_at, cancelled_at=None)
    ctx.tag("member_id", made.member_id)
    ctx.conclude("booked")


@handler
async def cancel_booking(cancelled: BookingCancelled, ctx: Context) -> None:
    """A booking does not count any more; also one that is heard of only afterwards."""
    await _remember(cancelled.booking_id, cancelled.member_id, ctx, booked_at=ctx.now, cancelled_at=ctx.now)
    await ctx.session.execute(
        update(MemberBooking)
        .where(
            MemberBooking.booking_id == cancelled.booking_id,
            MemberBooking.member_id == cancelled.member_id,
            MemberBooking.cancelled_at.is_(None),
        )
        .values(cancelled_at=ctx.now)
        .execution_options(synchronize_session=False)
    )
    ctx.tag("member_id", cancelled.member_id)
    ctx.conclude("cancelled")


async def _lot(grant: PointsGranted, ctx: Context) -> PointLot:
    last_day = grant.last_day or NEVER
    values = {"id": ctx.new_id(), "member_id": grant.member_id, "source": grant.source, "last_day": last_day}
    new = insert_for(ctx.session.get_bind().dialect.name, PointLot).values(values)
    await ctx.session.execute(new.on_conflict_do_nothing(index_elements=["member_id", "source", "last_day"]))
    found = select(PointLot).where(
        PointLot.member_id == grant.member_id, PointLot.source == grant.source, PointLot.last_day == last_day
    )
    return (await ctx.session.scalars(found)).one()


async def _remember(booking_id: str, member_id: str, ctx: Context, **times: object) -> None:
    values = {"booking_id": booking_id, "member_id": member_id, **times}
    new = insert_for(ctx.session.get_bind().dialect.name, MemberBooking).values(values)
    await ctx.session.execute(new.on_conflict_do_nothing(index_elements=["booking_id"]))
