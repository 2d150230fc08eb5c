"""What PayPay tells unasked. Nothing of it is signed, so nothing of it is believed: it says what to ask about.

Whoever it names is looked at again, at most once in five seconds each and so many a second in all; an id that
nobody knows costs nothing. Source: docs/providers/paypay.md, "Notifications".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import func, select

from handlers.paypay.cashback import CHECK
from handlers.paypay.reversal import REVERSAL_CHECK
from handlers.paypay.sealing import sealed
from handlers.paypay.sessions import settings_of
from handlers.paypay.tables import PayPayCashback, PayPayReversal, PayPaySession
from hub.capability import handler
from hub.event import Event
from schemas.paypay_exchange import AuthorizationCheck, CashbackCheck, ReversalCheck

if TYPE_CHECKING:
    from hub.deliver.context import Context

AUTHORIZATION_CHECK: Final = "paypay.authorization.check"
PAUSE: Final = timedelta(seconds=5)
CASHBACK_KEYS: Final = ("merchantCashbackId", "merchant_cashback_id", "merchantCashbackld")
"""How the id may be spelt; the last one is a misprint that has been seen."""
REVERSAL_KEYS: Final = ("merchantCashbackReversalId", "merchant_cashback_reversal_id")
_ID: Final = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
"""What an id of ours or PayPay's can be: anything else is not even looked for, as no database need take every text."""

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypay")


@handler
async def hint_cashback(event: Event, ctx: Context) -> None:
    """A notification names a cashback or a reversal: look at it, soon."""
    data = event.data if isinstance(event.data, dict) else {}
    reversal_name = first_id(data, REVERSAL_KEYS)
    if reversal_name is not None and await _hint_reversal(reversal_name, ctx):
        return
    # A reversal that nobody knows may have been made at PayPay's panel: its cashback is looked at.
    name = first_id(data, CASHBACK_KEYS)
    found = select(PayPayCashback).where(PayPayCashback.merchant_cashback_id == name).with_for_update()
    row = await ctx.session.scalar(found) if name is not None else None
    if row is None:
        _unknown(ctx)
        return
    ctx.tag("merchant_cashback_id", row.merchant_cashback_id)
    delay_s = await _turn(row, ctx)
    if delay_s is not None:
        await ctx.after(delay_s, CHECK, CashbackCheck(request_id=row.id, reason="notified"), key=str(row.id))


@handler
async def hint_authorization(event: Event, ctx: Context) -> None:
    """A notification names a member's authorization: ask PayPay whether it stands."""
    data = event.data if isinstance(event.data, dict) else {}
    name, nonce = first_id(data, ("userAuthorizationId",)), first_id(data, ("nonce",))
    row = await _session(ctx, nonce, name)
    authorization = name or (row.user_authorization_id if row is not None else None)
    if row is None or authorization is None:
        # One that failed or was declined names no authorization: the member's token says so, or time does.
        _unknown(ctx)
        return
    ctx.tag("member_id", row.member_id)
    delay_s = await _turn(row, ctx)
    if delay_s is not None:
        check = AuthorizationCheck(session_id=row.id, sealed_authorization=sealed(authorization, settings_of(ctx)))
        await ctx.after(delay_s, AUTHORIZATION_CHECK, check, key=str(row.id))


async def _hint_reversal(name: str, ctx: Context) -> bool:
    """Look at this reversal, soon; False where nobody knows it."""
    found = select(PayPayReversal).where(PayPayReversal.merchant_cashback_reversal_id == name).with_for_update()
    row = await ctx.session.scalar(found)
    if row is None:
        return False
    ctx.tag("merchant_cashback_reversal_id", row.merchant_cashback_reversal_id)
    delay_s = await _turn(row, ctx)
    if delay_s is not None:
        check = ReversalCheck(reversal_id=row.id, reason="notified")
        await ctx.after(delay_s, REVERSAL_CHECK, check, key=str(row.id))
    return True


async def _session(ctx: Context, nonce: str | None, authorization: str | None) -> PayPaySession | None:
    for column, value in ((PayPaySession.nonce, nonce), (PayPaySession.user_authorization_id, authorization)):
        if value is None:
            continue
        found = select(PayPaySession).where(column == value).order_by(PayPaySession.created_at.desc()).limit(1)
        row: PayPaySession | None = await ctx.session.scalar(found.with_for_update())
        if row is not None:
            return row
    return None


async def _turn(row: PayPayCashback | PayPayReversal | PayPaySession, ctx: Context) -> float | None:
    """How long until this row is looked at; None where a look is to come already, or too many were asked for."""
    last, now = row.hinted_at, ctx.now
    if last is not None and last > now:
        ctx.conclude("look_is_coming")
        return None
    due = now if last is None else max(now, last + PAUSE)
    if await _hints_since(now - PAUSE, ctx) >= math.ceil(settings_of(ctx).hints_per_s * PAUSE.total_seconds()):
        # The sweep comes by all the same.
        ctx.conclude("too_many_hints")
        log.warning("paypay_hints_dropped")
        return None
    row.hinted_at = due
    ctx.conclude("look_asked_for")
    return (due - now).total_seconds()


async def _hints_since(since: datetime, ctx: Context) -> int:
    tables = (PayPayCashback, PayPayReversal, PayPaySession)
    counts = [await ctx.session.scalar(select(func.count()).where(table.hinted_at > since)) for table in tables]
    return sum(count or 0 for count in counts)


def _unknown(ctx: Context) -> None:
    ctx.conclude("unknown_id")
    log.info("paypay_notification_unmatched")


def first_id(data: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these members that can be an id."""
    for name in names:
        value = data.get(name)
        if isinstance(value, str) and _ID.fullmatch(value):
            return value
    return None
