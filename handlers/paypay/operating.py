"""What operators do with exchanges, reversals and members, as functions that return data; ``desk_cli.py`` shows it.

Each order is an event with who and why. Source: docs/providers/paypay.md, "What an operator does".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias
from uuid import UUID

from handlers.paypay.books import lot_account
from handlers.paypay.cashback import CHECK
from handlers.paypay.reversal import REVERSAL_CHECK
from handlers.paypay.states import Status
from handlers.paypay.tables import PayPayReversal
from handlers.paypay.tables_members import NEVER
from handlers.paypay.views import find_exchange, list_exchanges, list_reversals, lots_of
from hub.errors import UsageError
from hub.ledger.read import find_account
from schemas.paypay_exchange import (
    BookingMade,
    CashbackCheck,
    CashbackView,
    ExchangeReply,
    PersonDecided,
    PointsGranted,
    RetryOrder,
    ReversalCheck,
    ReversalOrder,
    ReversalReply,
    SweepOrdered,
)

if TYPE_CHECKING:
    from hub.api import HubApi

Kind: TypeAlias = Literal["cashback", "reversal"]


@dataclass(frozen=True, slots=True)
class ReversalLine:
    """A reversal, as a list shows it."""

    reversal_id: UUID
    request_id: UUID
    status: str
    requested_jpy: int
    reversed_jpy: int
    returned_points: int
    operator: str
    reason: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class LotLine:
    """A member's points of one source and last day: what can be used, and what exchanges hold."""

    source: str
    last_day: date | None
    usable: int
    held: int


async def exchanges(api: HubApi, *, status: str | None, member: str | None, limit: int) -> Sequence[CashbackView]:
    """Exchanges, newest first. Raises UsageError for a state that there is not."""
    async with api.reading() as session:
        return await list_exchanges(session, statuses=_states(status), member_id=member, limit=limit)


async def reversals(api: HubApi, *, status: str | None, limit: int) -> Sequence[ReversalLine]:
    """Reversals, newest first. Raises UsageError for a state that there is not."""
    async with api.reading() as session:
        return [_line(row) for row in await list_reversals(session, statuses=_states(status), limit=limit)]


async def show(api: HubApi, request_id: UUID) -> CashbackView:
    """One exchange. Raises UsageError when there is none."""
    async with api.reading() as session:
        view = await find_exchange(session, request_id)
    if view is None:
        raise UsageError(f"no exchange has the id {request_id}")
    return view


async def check_now(api: HubApi, kind: Kind, request_id: UUID) -> None:
    """Have PayPay asked how it stands; a running hub does it. Raises UsageError when there is nothing of this id."""
    if kind == "cashback":
        await show(api, request_id)
        await api.command(CHECK, CashbackCheck(request_id=request_id, reason="operator"), key=str(request_id))
        return
    async with api.reading() as session:
        if await session.get(PayPayReversal, request_id) is None:
            raise UsageError(f"no reversal has the id {request_id}")
    await api.command(REVERSAL_CHECK, ReversalCheck(reversal_id=request_id, reason="operator"), key=str(request_id))


async def decide(api: HubApi, order: PersonDecided) -> str:
    """Settle what is MANUAL, or send it again; answers the new state. Raises RefusedCommand."""
    status = await api.command("paypay.person.decided", order, key=str(order.request_id))
    assert isinstance(status, str)
    return status


async def reverse(api: HubApi, order: ReversalOrder) -> ReversalReply:
    """Take cashback back. Raises RefusedCommand, and UsageError for a repeated key."""
    dedupe_id = f"{order.request_id} {order.idempotency_key}"
    reply = await api.command("paypay.reversal.order", order, key=str(order.request_id), dedupe_id=dedupe_id)
    assert isinstance(reply, ReversalReply)
    return reply


async def retry(api: HubApi, request_id: UUID, *, by: str) -> ExchangeReply:
    """Try a failed exchange again. Raises RefusedCommand."""
    order = RetryOrder(request_id=request_id, operator=by)
    reply = await api.command("paypay.exchange.retry", order, key=str(request_id))
    assert isinstance(reply, ExchangeReply)
    return reply


async def sweep_once(api: HubApi, *, by: str) -> int:
    """Have everything asked about that is due; answers how many. A running hub does the asking."""
    found = await api.command("paypay.sweep", SweepOrdered(by=by), key=None)
    assert isinstance(found, int)
    return found


async def grant(api: HubApi, given: PointsGranted) -> int:
    """Give a member points; answers what the lot that they went to holds. Raises UsageError for a repeated id."""
    balance = await api.command("member.points.granted", given, key=given.member_id, dedupe_id=given.grant_id)
    assert isinstance(balance, int)
    return balance


async def book(api: HubApi, made: BookingMade) -> None:
    """Remember a booking. Raises UsageError for a repeated id."""
    await api.command("member.booking.made", made, key=made.member_id, dedupe_id=made.booking_id)


async def points_of(api: HubApi, member_id: str) -> Sequence[LotLine]:
    """A member's points, those that end first at the top."""
    async with api.reading() as session:
        lots = await lots_of(session, member_id)
        conn = await session.connection()
        lines = []
        for lot in lots:
            account = lot_account(lot.member_id, lot.source, lot.last_day)
            free, held = await find_account(conn, account.code), await find_account(conn, account.held.code)
            lines.append(
                LotLine(
                    source=lot.source,
                    last_day=None if lot.last_day == NEVER else lot.last_day,
                    usable=free.balance.amount_minor if free else 0,
                    held=held.balance.amount_minor if held else 0,
                )
            )
    return lines


def _states(status: str | None) -> Sequence[str]:
    if status is None:
        return ()
    if status.upper() not in tuple(Status):
        raise UsageError(f"--status: expected one of {', '.join(Status)}, found {status!r}")
    return (status.upper(),)


def _line(row: PayPayReversal) -> ReversalLine:
    return ReversalLine(
        reversal_id=row.id,
        request_id=row.cashback_request_id,
        status=row.status,
        requested_jpy=row.requested_amount_jpy,
        reversed_jpy=row.reversed_amount_jpy,
        returned_points=row.returned_points,
        operator=row.operator,
        reason=row.reason,
        requested_at=row.requested_at,
    )
