"""Giving cashback: PayPay is asked, and asked again how it stands, until its own word ends the exchange.

Every try carries the same merchantCashbackId, so that PayPay itself refuses a second grant. What is not known stays
UNKNOWN, with the points held. Source: docs/providers/paypay.md, "Exchanging points" and "States".
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import bindparam, exists, select
from sqlalchemy.orm import aliased

from handlers.paypay.announcing import tell_end, tell_points
from handlers.paypay.books import cashback_reference, hold_reference, paid, spend_reference
from handlers.paypay.client import CALL_S, paypay
from handlers.paypay.exchanging import REQUESTED, cashback_for_update
from handlers.paypay.members import members
from handlers.paypay.outcomes import Facts, LookupOutcome, Unknown
from handlers.paypay.progress import (
    ask_person,
    looking,
    note_seen,
    note_sent,
    rest_if_down,
    settle,
    their_id,
    wait_s,
)
from handlers.paypay.sessions import AUTHORIZATION_LIFE, BAD_AUTHORIZATION, find_session, unlink_all
from handlers.paypay.states import Status, Step, is_absent
from handlers.paypay.tables import LINKED, NOT_ENOUGH_MONEY, WALLET_WAS_EMPTY, PayPayCashback, PayPayReversal
from handlers.paypay.wire import GiveCashback, ReadCashback
from hub.capability import calls
from hub.errors import BusyError, PermanentError
from hub.flow.priority import Priority
from hub.store.types import UtcTime
from schemas.paypay_exchange import CashbackCheck, CashbackRequested

if TYPE_CHECKING:
    from hub.deliver.context import Context

CHECK: Final = "paypay.cashback.check"
WALLET_PAUSE: Final = timedelta(minutes=10)
"""How long nothing is given after PayPay said that our wallet there is empty."""
PRIORITY: Final = {
    "early": Priority.POLL,
    "notified": Priority.READ,
    "operator": Priority.READ,
    "reversal": Priority.READ,
    "sweep": Priority.SWEEP,
}
"""Why a look is taken → who goes first."""
_other = aliased(PayPayCashback, name="other")
_WITH_WALLET: Final = select(
    PayPayCashback, exists().where(WALLET_WAS_EMPTY, _other.updated_at > bindparam("since", type_=UtcTime))
).where(PayPayCashback.id == bindparam("id"))
"""An exchange, and whether PayPay has just said that our wallet is empty. Building it takes longer than asking."""


@calls("paypay")
async def give_cashback(requested: CashbackRequested, ctx: Context) -> None:
    """Ask PayPay for the cashback whose points are held. Running it again is safe: the id is the same.

    Raises: PayPayBusyError and its neighbours, when nothing reached PayPay; the row is NEW still.
    """
    async with ctx.reading() as session:
        bounds = {"id": requested.request_id, "since": ctx.now - WALLET_PAUSE}
        found = (await session.execute(_WITH_WALLET, bounds)).first()
    if found is None:
        raise PermanentError(f"no exchange has the id {requested.request_id}")
    row, is_wallet_empty = found
    if row.state is not Status.NEW:
        # A look, or a person, was quicker than this delivery.
        ctx.conclude("decided_before")
        return
    if is_wallet_empty:
        raise BusyError("the campaign wallet at PayPay is empty", delay_s=WALLET_PAUSE.total_seconds())
    ask = GiveCashback(
        merchant_cashback_id=row.merchant_cashback_id,
        user_authorization_id=row.user_authorization_id,
        amount_jpy=row.amount_jpy,
        requested_at=row.requested_at,
        wallet_type=row.wallet_type,
        order_description=row.order_description,
    )
    # Recorded before it is sent; no transaction is open while PayPay thinks.
    outcome = await ctx.call(
        "give",
        paypay(ctx).give_cashback,
        ask,
        key=row.merchant_cashback_id,
        lookup=never_sent_again,
        timeout_s=CALL_S,
    )
    await rest_if_down(outcome, ctx)

    await ctx.begin()
    row = await _row(requested.request_id, ctx)
    before = row.state
    step = note_sent(row, outcome, ctx)
    settle(row, step, ctx)
    code = Facts.of(outcome).code
    if step.status is Status.REJECTED and before is Status.NEW:
        if code in BAD_AUTHORIZATION:
            await unlink_all(ctx, row.user_authorization_id, BAD_AUTHORIZATION[code])
        await _release(row, code or "REJECTED", ctx)
    await _look_later(row, ctx)


@calls("paypay", priority=Priority.POLL)
async def check_cashback(check: CashbackCheck, ctx: Context) -> None:
    """Ask PayPay how a cashback stands, and do what follows. It only reads: asked again, it does no harm."""
    async with ctx.reading() as session:
        row = await session.get(PayPayCashback, check.request_id)
    if row is None:
        raise PermanentError(f"no exchange has the id {check.request_id}")
    if row.state.is_final and row.next_check_at is None and check.reason in ("early", "sweep", "reversal"):
        ctx.conclude("decided_before")
        return
    read = looking(paypay(ctx).read_cashback)
    outcome = await ctx.call(
        "check",
        read,
        ReadCashback(merchant_cashback_id=row.merchant_cashback_id),
        key=row.merchant_cashback_id,
        timeout_s=CALL_S,
        is_read=True,
        priority=PRIORITY[check.reason],
    )
    await rest_if_down(outcome, ctx)

    await ctx.begin()
    row = await _row(check.request_id, ctx)
    before = row.state
    # Only what PayPay does not know may be sent again, where nobody wants it back.
    step = note_seen(row, outcome, ctx, is_reversed=is_absent(outcome) and await was_reversed(row, ctx))
    row.cashback_id = their_id(outcome, "cashbackId") or row.cashback_id
    settle(row, step, ctx)
    await follow(row, before, step, getattr(outcome, "reason", ""), ctx)
    # Only its own timer sets the next one: else every notification would start a row of looks of its own.
    if check.reason == "early":
        await _look_later(row, ctx)


async def follow(row: PayPayCashback, before: Status, step: Step, reason: str, ctx: Context) -> None:
    """What a step of an exchange means for the points, the yen and those who wait to hear of it.

    ``reason`` is PayPay's code where it failed, or its word for that where the look itself went well.
    """
    if step.is_resent:
        # The very same id: where PayPay had it after all, it refuses the second.
        await ctx.emit(REQUESTED, CashbackRequested(request_id=row.id, number=row.attempts), key=again_key(row.id, ctx))
    if before.is_final:
        return
    if step.status is Status.SUCCESS:
        await _spend(row, ctx)
    elif step.status is Status.FAILED:
        await _release(row, reason or "FAILURE", ctx)
        if reason == NOT_ENOUGH_MONEY:
            ask_person(row, "not_enough_money", "the campaign wallet at PayPay is empty: fill it, then try again", ctx)


def again_key(request_id: UUID, ctx: Context) -> str:
    """Beside the chain of this request: one that a person wants to be sent again must not wait behind a parked try."""
    return f"{request_id}/{ctx.event.id}"


async def was_reversed(row: PayPayCashback, ctx: Context) -> bool:
    """Whether anybody has ever ordered to take it back. The caller has locked it: nobody orders that meanwhile."""
    one = select(PayPayReversal.id).where(PayPayReversal.cashback_request_id == row.id).limit(1)
    return await ctx.session.scalar(one) is not None


async def never_sent_again(request: Any, key: str) -> LookupOutcome:
    """Of a request that was cut off nobody knows: it is left to the looks, which count how often it is absent.

    Right after it was sent, PayPay's not knowing it proves nothing.
    """
    return Unknown("cut off before its answer was written down")


async def _spend(row: PayPayCashback, ctx: Context) -> None:
    # The session before the points, as everywhere: two that lock both never wait for each other.
    session = await find_session(ctx, row.session_id)
    await members(ctx.settings).spend(ctx, row.id)
    await ctx.ledger.post(cashback_reference(row.id), "cashback", [paid(row.amount_jpy)])
    if session is not None and session.status == LINKED and session.authorization_expires_at is not None:
        # PayPay prolongs an authorization with every grant.
        session.authorization_expires_at = max(session.authorization_expires_at, ctx.now + AUTHORIZATION_LIFE)
    await tell_points("spent", row, row.points, spend_reference(row.id, 0), ctx)
    await tell_end(row, "", ctx.now, ctx)


async def _release(row: PayPayCashback, reason: str, ctx: Context) -> None:
    await members(ctx.settings).release(ctx, row.id)
    await tell_points("released", row, row.points, hold_reference(row.id, 0), ctx)
    await tell_end(row, reason, ctx.now, ctx)


async def _look_later(row: PayPayCashback, ctx: Context) -> None:
    delay_s = wait_s(row)
    if delay_s is not None:
        await ctx.after(delay_s, CHECK, CashbackCheck(request_id=row.id, reason="early"), key=str(row.id))


async def _row(request_id: Any, ctx: Context) -> PayPayCashback:
    row = await cashback_for_update(ctx, request_id)
    assert row is not None, "an exchange is never deleted"
    ctx.tag("member_id", row.member_id)
    ctx.tag("merchant_cashback_id", row.merchant_cashback_id)
    return row
