"""What the exchange must know of a member: whether one has booked, and what points one has to hold, spend and return.

``MemberPoints`` is the port; a shop with a system of its own puts another class behind it (``PAYPAY_MEMBER_POINTS``).
``LedgerMembers`` is what the hub does by itself: bookings in a table, points in the ledger, one account per source and
last day. Source: docs/providers/paypay.md, "Members and their points".
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from sqlalchemy import select

from handlers.paypay.books import (
    SPENT,
    hold_reference,
    late_spend_reference,
    lot_account,
    points,
    return_reference,
    spend_reference,
)
from handlers.paypay.conversions import Split
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables_members import PROMOTION, PURCHASE, HeldLot, MemberBooking, PointLot
from hub.errors import RefusedCommand
from hub.ledger import Account, Move

if TYPE_CHECKING:
    from hub.deliver.context import Context


class MemberPoints(Protocol):
    """Everything happens in the transaction of the delivery that asks, and nothing twice."""

    async def has_booked(self, ctx: Context, member_id: str, *, since: datetime, until: datetime) -> bool:
        """Whether a booking that still stands was made from ``since`` to ``until``, both included."""
        ...

    async def available(self, ctx: Context, member_id: str) -> int:
        """What the member can use now: not expired, not held."""
        ...

    async def hold(self, ctx: Context, request_id: UUID, member_id: str, wanted: int) -> Split:
        """Set points aside, those that end first, promotions before purchases.

        Raises RefusedCommand: NO_POINTS, NOT_ENOUGH_POINTS.
        """
        ...

    async def spend(self, ctx: Context, request_id: UUID) -> None:
        """The points that an exchange holds are gone."""
        ...

    async def release(self, ctx: Context, request_id: UUID) -> None:
        """They are the member's again."""
        ...

    async def give_back(self, ctx: Context, request_id: UUID, reversal_id: UUID, amount: int) -> Split:
        """So many of the points that an exchange spent come back to where they were, promotions last."""
        ...

    async def spend_released(self, ctx: Context, request_id: UUID, member_id: str, wanted: int) -> Split:
        """The points of an exchange were released, and are spent after all: from where they were, as far as they are.

        Raises RefusedCommand: NOT_ENOUGH_POINTS.
        """
        ...


class LedgerMembers:
    """Members as the hub knows them by itself."""

    async def has_booked(self, ctx: Context, member_id: str, *, since: datetime, until: datetime) -> bool:
        """Whether a booking that still stands was made from ``since`` to ``until``, both included."""
        one = (
            select(MemberBooking.booking_id)
            .where(
                MemberBooking.member_id == member_id,
                MemberBooking.cancelled_at.is_(None),
                MemberBooking.booked_at >= since,
                MemberBooking.booked_at <= until,
            )
            .limit(1)
        )
        return await ctx.session.scalar(one) is not None

    async def available(self, ctx: Context, member_id: str) -> int:
        """What the member can use now: not expired, not held."""
        balances = [await ctx.ledger.balance(account_of(lot)) for lot in await _usable(ctx, member_id)]
        return sum(balance.amount_minor for balance in balances)

    async def hold(self, ctx: Context, request_id: UUID, member_id: str, wanted: int) -> Split:
        """Set points aside, those that end first, promotions before purchases. Raises RefusedCommand."""
        lots = await _usable(ctx, member_id)
        # Asking for a balance locks it: from here to the commit nobody else spends these points.
        free = [(await ctx.ledger.balance(account_of(lot))).amount_minor for lot in lots]
        if sum(free) <= 0:
            raise RefusedCommand("NO_POINTS", "the member has no points that can be exchanged")
        if sum(free) < wanted:
            raise RefusedCommand("NOT_ENOUGH_POINTS", f"the member has {sum(free)} points")
        held: list[HeldLot] = []
        taken = {PURCHASE: 0, PROMOTION: 0}
        for lot, balance in zip(lots, free, strict=True):
            amount = min(balance, wanted - sum(taken.values()))
            if amount <= 0:
                continue
            position = len(held)
            await ctx.ledger.hold(account_of(lot), points(amount), reference=hold_reference(request_id, position))
            held.append(
                HeldLot(
                    cashback_request_id=request_id, lot_id=lot.id, position=position, points=amount, returned_points=0
                )
            )
            taken[lot.source] += amount
        ctx.session.add_all(held)
        return Split(purchase=taken[PURCHASE], promotion=taken[PROMOTION])

    async def spend(self, ctx: Context, request_id: UUID) -> None:
        """The points that an exchange holds are gone."""
        for held, _ in await _held(ctx, request_id):
            reference = spend_reference(request_id, held.position)
            await ctx.ledger.capture(hold_reference(request_id, held.position), reference=reference, to=SPENT)

    async def release(self, ctx: Context, request_id: UUID) -> None:
        """They are the member's again, in the lots that they were taken from."""
        for held, _ in await _held(ctx, request_id):
            await ctx.ledger.void(hold_reference(request_id, held.position))

    async def give_back(self, ctx: Context, request_id: UUID, reversal_id: UUID, amount: int) -> Split:
        """So many of the points that an exchange spent come back to where they were, promotions last."""
        moves: list[Move] = []
        back = {PURCHASE: 0, PROMOTION: 0}
        for held, lot in sorted(await _held(ctx, request_id), key=lambda pair: pair[1].source == PROMOTION):
            part = min(held.points - held.returned_points, amount - sum(back.values()))
            if part <= 0:
                continue
            held.returned_points += part
            back[lot.source] += part
            moves.append(Move(debit=SPENT, credit=account_of(lot), amount=points(part)))
        if sum(back.values()) != amount:
            raise ValueError(f"exchange {request_id} has fewer than {amount} points to give back")
        if moves:
            await ctx.ledger.post(return_reference(reversal_id), "points-return", moves)
        return Split(purchase=back[PURCHASE], promotion=back[PROMOTION])

    async def spend_released(self, ctx: Context, request_id: UUID, member_id: str, wanted: int) -> Split:
        """The points of an exchange were released, and are spent after all. Raises RefusedCommand."""
        held = {lot.id: one for one, lot in await _held(ctx, request_id)}
        own = (await ctx.session.scalars(select(PointLot).where(PointLot.id.in_(held)))).all()
        others = [lot for lot in await _usable(ctx, member_id) if lot.id not in held]
        taken: dict[UUID, int] = {}
        split = {PURCHASE: 0, PROMOTION: 0}
        moves: list[Move] = []
        # Also from a lot that has ended meanwhile: nobody else could use what went back there.
        for lot in (*sorted(own, key=_turn), *others):
            free = (await ctx.ledger.balance(account_of(lot))).amount_minor
            amount = min(free, wanted - sum(taken.values()))
            if amount > 0:
                taken[lot.id] = amount
                split[lot.source] += amount
                moves.append(Move(debit=account_of(lot), credit=SPENT, amount=points(amount)))
        if sum(taken.values()) != wanted:
            raise RefusedCommand("NOT_ENOUGH_POINTS", f"the member has {sum(taken.values())} of {wanted} points")
        await ctx.ledger.post(late_spend_reference(request_id), "points-spend", moves)
        await _hold_anew(ctx, request_id, held, taken)
        return Split(purchase=split[PURCHASE], promotion=split[PROMOTION])


async def _hold_anew(ctx: Context, request_id: UUID, held: Mapping[UUID, HeldLot], taken: Mapping[UUID, int]) -> None:
    """Remember what was taken in the end: a reversal gives it back there."""
    for lot_id, one in held.items():
        if lot_id in taken:
            one.points = taken[lot_id]
        else:
            await ctx.session.delete(one)
    position = max((one.position for one in held.values()), default=-1)
    for place, (lot_id, amount) in enumerate((pair for pair in taken.items() if pair[0] not in held), position + 1):
        one = HeldLot(cashback_request_id=request_id, lot_id=lot_id, position=place, points=amount, returned_points=0)
        ctx.session.add(one)


def account_of(lot: PointLot) -> Account:
    """Where the points of a lot lie."""
    return lot_account(lot.member_id, lot.source, lot.last_day)


def members(settings: PayPaySettings) -> MemberPoints:
    """Whoever knows the members, by the settings."""
    return _built(settings.member_points)


@lru_cache(maxsize=8)
def _built(name: str) -> MemberPoints:
    built: Any = pkgutil.resolve_name(name)()
    port: MemberPoints = built
    return port


async def _usable(ctx: Context, member_id: str) -> Sequence[PointLot]:
    """The member's lots that have not ended, in the order in which they are used."""
    settings: PayPaySettings = ctx.settings
    today = ctx.now.astimezone(settings.zone).date()
    lots = select(PointLot).where(PointLot.member_id == member_id, PointLot.last_day >= today)
    return sorted((await ctx.session.scalars(lots)).all(), key=_turn)


async def _held(ctx: Context, request_id: UUID) -> Sequence[tuple[HeldLot, PointLot]]:
    """What an exchange took from which lot, in the order of taking; the accounts are locked."""
    rows = await ctx.session.execute(
        select(HeldLot, PointLot)
        .join(PointLot, PointLot.id == HeldLot.lot_id)
        .where(HeldLot.cashback_request_id == request_id)
        .order_by(HeldLot.position)
    )
    pairs = [(held, lot) for held, lot in rows]
    if pairs:
        # Everybody locks a member's lots in one order, also those that are only counted: no two wait for each other.
        involved = {lot.id: lot for lot in (*(lot for _, lot in pairs), *await _usable(ctx, pairs[0][1].member_id))}
        for lot in sorted(involved.values(), key=_turn):
            await ctx.ledger.balance(account_of(lot))
    return pairs


def _turn(lot: PointLot) -> tuple[date, bool, UUID]:
    """What ends first is used first, then promotions before purchases."""
    return lot.last_day, lot.source != PROMOTION, lot.id
