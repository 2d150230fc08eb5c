"""How a member's authorization stands, as PayPay itself says: a notification about it is only a hint.

It links an account only where PayPay names the member as the one whom it was given for. Source:
docs/providers/paypay.md, "Linking an account".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, assert_never

from handlers.paypay.client import CALL_S, paypay
from handlers.paypay.outcomes import Declined, Facts, Pending, Settled, Unknown, Verdict
from handlers.paypay.progress import rest_if_down
from handlers.paypay.sealing import opened
from handlers.paypay.sessions import BAD_AUTHORIZATION, find_session, link, settings_of, unlink_all
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
    authorization = opened(check.sealed_authorization, settings_of(ctx))
    if authorization is None:
        # Sealed under a secret that was replaced since.
        ctx.conclude("unreadable")
        return
    read = paypay(ctx).read_authorization
    ask = ReadAuthorization(user_authorization_id=authorization)
    outcome = await ctx.call("check", read, ask, timeout_s=CALL_S, is_read=True)
    await rest_if_down(outcome, ctx)
    match outcome:
        case Settled() if Facts.of(outcome).status == ACTIVE:
            await ctx.begin()
            session = await find_session(ctx, check.session_id)
            assert session is not None, "a session is never deleted"
            ctx.tag("member_id", session.member_id)
            ctx.conclude(_apply(session, authorization, Facts.of(outcome), ctx.now))
        case Settled():
            await _revoke(authorization, REVOKED, ctx)
        case Declined() if Facts.of(outcome).code in BAD_AUTHORIZATION:
            await _revoke(authorization, BAD_AUTHORIZATION[Facts.of(outcome).code], ctx)
        case Declined():
            ctx.conclude("not_told")
        case Unknown() if Facts.of(outcome).verdict is Verdict.MANUAL:
            # A refusal that nobody knows stays one, however often it is asked: a later hint, or a token, says more.
            ctx.conclude("not_told")
        case Pending(reason=reason) | Unknown(reason=reason):
            raise RetryableError(f"PayPay did not say how the authorization stands: {reason}")
        case _:
            assert_never(outcome)


async def _revoke(authorization: str, status: str, ctx: Context) -> None:
    """A member may have linked the account in several sessions: none of them is of use any more."""
    await ctx.begin()
    ctx.conclude("revoked" if await unlink_all(ctx, authorization, status) else "not_ours")


def _apply(session: PayPaySession, authorization: str, facts: Facts, now: datetime) -> str:
    """Write that PayPay takes the authorization; answers the outcome in a word."""
    data = facts.data
    is_ours = session.user_authorization_id == authorization
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
