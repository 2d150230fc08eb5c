"""Linking a member's PayPay account: a session begins, PayPay's page decides, a token or a look at PayPay says how.

The device is fixed when the session begins, because it decides the rate. A notification may come before the token or
after it; both write the same row. Source: docs/providers/paypay.md, "Linking an account".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import ColumnElement, select

from handlers.paypay.sealing import opened
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables import CREATED, DECLINED, EXPIRED, LINK_FAILED, LINKED, REVOKED, PayPaySession
from handlers.paypay.tokens import refused_token
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.paypay_exchange import SessionDecided, SessionLinked, SessionStarted, SessionStatus

if TYPE_CHECKING:
    from hub.deliver.context import Context

SESSION_LIFE: Final = timedelta(minutes=15)
LEEWAY: Final = timedelta(seconds=30)
"""How far PayPay's clock and ours may be apart."""
AUTHORIZATION_LIFE: Final = timedelta(days=365)
BAD_AUTHORIZATION: Final[Mapping[str, str]] = {
    "INVALID_USER_AUTHORIZATION_ID": REVOKED,
    "EXPIRED_USER_AUTHORIZATION_ID": EXPIRED,
    "CANCELED_USER": REVOKED,
}
"""PayPay's code for an authorization that it does not take any more → what its sessions become."""
CASHBACK: Final = "cashback"
NOT_FOUND: Final = "SESSION_NOT_FOUND"


@handler
async def start_session(start: SessionStarted, ctx: Context) -> None:
    """Remember who wants to link an account, and on which device, before PayPay is asked."""
    ctx.session.add(
        PayPaySession(
            id=start.session_id,
            member_id=start.member_id,
            device_type=start.device_type,
            nonce=start.nonce,
            reference_id=start.member_id,
            scopes=",".join(start.scopes),
            redirect_url=start.redirect_url,
            status=CREATED,
            expires_at=start.expires_at,
            created_at=ctx.now,
            updated_at=ctx.now,
        )
    )
    ctx.tag("member_id", start.member_id)
    ctx.conclude("started")


@handler
async def link_session(linked: SessionLinked, ctx: Context) -> None:
    """Remember the address that PayPay gave, or that it gave none."""
    session = await _locked(ctx, PayPaySession.id == linked.session_id)
    if session is None or session.status != CREATED:
        ctx.conclude("too_late")
        return
    session.link_url = linked.link_url
    session.status = CREATED if linked.link_url else LINK_FAILED
    session.updated_at = ctx.now
    ctx.conclude("has_address" if linked.link_url else "no_address")


@handler
async def decide_session(said: SessionDecided, ctx: Context) -> SessionStatus:
    """Link or decline by a response token whose signature holds; the same token again is answered as before.

    Raises RefusedCommand (TOKEN_REFUSED) where it does not fit the session: another's nonce, reference or member, used
    before, expired, or the session older than a quarter of an hour.
    """
    session = await _locked(ctx, PayPaySession.nonce == said.nonce)
    if session is None or session.reference_id != said.reference_id or session.member_id != said.member_id:
        raise refused_token("it belongs to no session of this member")
    ctx.tag("member_id", session.member_id)
    if session.token_hash == said.token_hash:
        ctx.conclude("repeated")
        return _status(session)
    if said.expires_at < ctx.now - LEEWAY or session.expires_at < ctx.now:
        raise refused_token("it is too late")
    is_linking = said.result == "succeeded"
    authorization = opened(said.sealed_authorization, settings_of(ctx)) if said.sealed_authorization else None
    if is_linking and authorization is None:
        raise refused_token("it names no authorization")
    # What a notification has linked before, the token may confirm.
    is_confirming = is_linking and session.user_authorization_id == authorization
    if session.token_hash is not None or (session.status != CREATED and not is_confirming):
        raise refused_token("the session is decided")
    session.token_hash = said.token_hash
    session.profile_identifier = said.profile_identifier or session.profile_identifier
    if is_linking:
        if session.status == CREATED:
            link(session, authorization, until=None, now=ctx.now)
    else:
        session.status = DECLINED
    session.updated_at = ctx.now
    ctx.conclude(session.status.lower())
    return _status(session)


def link(session: PayPaySession, user_authorization_id: str | None, *, until: datetime | None, now: datetime) -> None:
    """The account is linked, until PayPay's date where it is known."""
    session.status = LINKED
    session.user_authorization_id = user_authorization_id
    session.authorization_expires_at = until or now + AUTHORIZATION_LIFE
    session.updated_at = now


async def unlink_all(ctx: Context, user_authorization_id: str, status: str) -> int:
    """PayPay does not take this authorization any more: every session that has it is REVOKED or EXPIRED.

    Requests that were sent go on. Answers how many sessions there were.
    """
    sessions = (
        select(PayPaySession)
        .where(PayPaySession.user_authorization_id == user_authorization_id, PayPaySession.status == LINKED)
        .order_by(PayPaySession.id)
        .with_for_update()
    )
    found = (await ctx.session.scalars(sessions)).all()
    for session in found:
        session.status = status
        session.updated_at = ctx.now
    return len(found)


async def usable_session(ctx: Context, session_id: UUID, member_id: str, *, scope: str = CASHBACK) -> PayPaySession:
    """The member's session, linked for this and not expired. Raises RefusedCommand."""
    session = await ctx.session.get(PayPaySession, session_id)
    # Another's session is like one that is not there.
    if session is None or session.member_id != member_id or session.status in (CREATED, DECLINED, LINK_FAILED, REVOKED):
        raise RefusedCommand("NOT_LINKED", "the member has not linked a PayPay account in this session")
    if session.user_authorization_id is None:
        raise RefusedCommand("NOT_LINKED", "the member did not link a PayPay account in time")
    if scope not in session.scopes.split(","):
        raise RefusedCommand("NOT_LINKED", f"this session was not linked for {scope}")
    ends_at = session.authorization_expires_at
    if session.status == EXPIRED or ends_at is None or ends_at <= ctx.now:
        raise RefusedCommand("AUTHORIZATION_EXPIRED", "the authorization has expired: link the account again")
    return session


async def find_session(ctx: Context, session_id: UUID) -> PayPaySession | None:
    """The session, locked."""
    return await _locked(ctx, PayPaySession.id == session_id)


def settings_of(ctx: Context) -> PayPaySettings:
    """This capability's settings."""
    settings = ctx.settings
    assert isinstance(settings, PayPaySettings)
    return settings


async def _locked(ctx: Context, condition: ColumnElement[bool]) -> PayPaySession | None:
    found = select(PayPaySession).where(condition).with_for_update()
    session: PayPaySession | None = await ctx.session.scalar(found)
    return session


def _status(session: PayPaySession) -> SessionStatus:
    # A link that was revoked since was made all the same.
    status = "DECLINED" if session.status == DECLINED else "LINKED"
    return SessionStatus(session_id=session.id, status=status)
