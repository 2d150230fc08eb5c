"""How a member's authorization stands, as PayPay itself says: a notification about it is only a hint.

It links an account only where PayPay names the member as the one whom it was given for. Source:
docs/providers/paypay.md, "Linking an account".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, assert_never

from handlers.paypay.client import CALL_S, paypay
from handlers.paypay.outcomes import Declined, Facts, Pending, Settled, Unknown
from handlers.paypay.progress import rest_if_down
from handlers.paypay.sessions import find_session, link, unlink
from handlers.paypay.tables import CREATED, LINKED, REVOKED, PayPaySession
from handlers.paypay.wire import ReadAuthorization
from hub.capability import calls
from hub.errors import RetryableError
from hub.flow.priority import Priority
from schemas.paypay_exchange import AuthorizationCheck

if TYPE_CHECKING:
    from hub.deliver.context import Context

ACTIVE = "ACTIVE"
SECONDS_MAX = 253_402_300_799
"""The last second of the year 9999."""


@calls("paypay", priority=Priority.READ)
async def check_authorization(check: AuthorizationCheck, ctx: Context) -> None:
    """Ask PayPay whether an authorization stands, and link, prolong or revoke the session. Repeats do no harm."""
    read = paypay(ctx).read_authorization
    ask = ReadAuthorization(user_authorization_id=check.user_authorization_id)
    outcome = await ctx.call("check", read, ask, lookup=read, timeout_s=CALL_S)
    await rest_if_down(outcome, ctx)
    match outcome:
        case Settled():
            await ctx.begin()
            session = await find_session(ctx, check.session_id)
            assert session is not None, "a session is never deleted"
            ctx.tag("member_id", session.member_id)
            ctx.conclude(_apply(session, check.user_authorization_id, Facts.of(outcome), ctx.now))
        case Declined(reason=reason):
            ctx.conclude("not_told")
        case Pending(reason=reason) | Unknown(reason=reason):
            raise RetryableError(f"PayPay did not say how the authorization stands: {reason}")
        case _:
            assert_never(outcome)


def _apply(session: PayPaySession, authorization: str, facts: Facts, now: datetime) -> str:
    """Write what PayPay said of the authorization; answers the outcome in a word."""
    data = facts.data
    is_ours = session.user_authorization_id == authorization
    if facts.status != ACTIVE:
        if is_ours:
            unlink(session, REVOKED, now)
        return "revoked" if is_ours else "not_ours"
    if session.reference_id not in _texts(data.get("referenceIds")):
        return "not_ours"
    until = _expiry(data)
    if session.status == CREATED and _covers(session, data):
        link(session, authorization, until=until, now=now)
        return "linked"
    if session.status == LINKED and is_ours and until is not None:
        session.authorization_expires_at, session.updated_at = until, now
        return "prolonged"
    return "unchanged"


def _covers(session: PayPaySession, data: Mapping[str, Any]) -> bool:
    return set(session.scopes.split(",")) <= _texts(data.get("scopes"))


def _texts(value: object) -> set[str]:
    return {one for one in value if isinstance(one, str)} if isinstance(value, list) else set()


def _expiry(data: Mapping[str, Any]) -> datetime | None:
    value = data.get("expireAt")
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= SECONDS_MAX:
        return datetime.fromtimestamp(value, UTC)
    return None
