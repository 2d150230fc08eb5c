"""Messages of the exchange of points into PayPay balance: what is asked, what becomes of it, what others hear.

Amounts are whole yen, points whole points. Source: docs/providers/paypay.md, "Messages".
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

MemberId = Annotated[str, StringConstraints(pattern=r"^[^\s#\x00-\x1f\x7f-\x9f]{1,64}$", strict=True)]
"""The shop's id of a member: part of the name of an account, so without white space and ``#``."""
Key = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,64}$", strict=True)]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255, pattern=r"^[^\x00]+$")]
"""What a person writes, as every database takes it."""
Points = Annotated[int, Field(strict=True, ge=1, le=10**12)]
Yen = Annotated[int, Field(strict=True, ge=1, le=99_999_999_999)]
Scope = Literal["cashback", "direct_debit"]


class Message(BaseModel):
    """Everything here is frozen."""

    model_config = ConfigDict(frozen=True)


# --- linking a PayPay account -----------------------------------------------------------------------------------------


class SessionBody(Message):
    """A member wants to link a PayPay account. ``device_type`` decides the rate of every exchange that follows."""

    member_id: MemberId
    device_type: Literal["PC", "SP", "APP"]
    redirect_url: Annotated[str, StringConstraints(pattern=r"^https://[^\s/\x00]+[^\x00]*$", max_length=2000)]
    scopes: tuple[Scope, ...] = Field(default=("cashback",), min_length=1, max_length=2)


class SessionStarted(SessionBody):
    """What becomes a row before PayPay is asked."""

    session_id: UUID
    nonce: str
    expires_at: AwareDatetime


class SessionLinked(Message):
    """Where the member is to be sent; None: PayPay gave no address."""

    session_id: UUID
    link_url: str | None = None
    problem: str = ""


class SessionReply(Message):
    """The answer to whoever starts a session."""

    session_id: UUID
    link_url: str
    expires_at: AwareDatetime


class TokenBody(Message):
    """PayPay sent the member back, with this token."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    member_id: MemberId
    response_token: Annotated[str, Field(alias="responseToken", min_length=1, max_length=8192)]


class SessionDecided(Message):
    """What a response token says, once its signature holds. ``token_hash`` recognises the same token.

    The authorization's id is sealed: only the hub reads it.
    """

    member_id: MemberId
    nonce: str
    reference_id: str
    result: str
    sealed_authorization: str | None = None
    profile_identifier: str | None = None
    expires_at: AwareDatetime
    token_hash: str


class SessionStatus(Message):
    """The answer to a token."""

    session_id: UUID
    status: Literal["LINKED", "DECLINED"]


# --- exchanging points ------------------------------------------------------------------------------------------------


class ExchangeBody(Message):
    """A member exchanges points. ``points`` is looked at by the exchange, which has words of its own for mistakes.

    Also for none at all: ``null`` is left out on the way to the exchange.
    """

    member_id: MemberId
    session_id: UUID
    points: Any = None
    idempotency_key: Key


class ExchangeReply(Message):
    """The answer to an exchange: the points are held, PayPay is asked next."""

    request_id: UUID
    merchant_cashback_id: str
    amount_jpy: int
    status: str


class CashbackRequested(Message):
    """A cashback is to be sent to PayPay; the row says all the rest. ``number`` counts the times."""

    request_id: UUID
    number: int = 0


class CashbackCheck(Message):
    """PayPay is to be asked how a cashback stands, and why now."""

    request_id: UUID
    reason: Literal["early", "notified", "sweep", "operator", "reversal"] = "sweep"


class CashbackResult(Message):
    """``paypay.cashback.succeeded`` and ``.failed``: an exchange has ended."""

    request_id: UUID
    merchant_cashback_id: str
    member_id: str
    device_type: str
    points: int
    amount_jpy: int
    status: Literal["SUCCESS", "FAILED", "REJECTED"]
    reason: str = ""
    cashback_id: str | None = None
    ended_at: AwareDatetime


class CashbackReversed(Message):
    """``paypay.cashback.reversed``: yen were taken back, and points returned."""

    request_id: UUID
    reversal_id: UUID
    merchant_cashback_id: str
    merchant_cashback_reversal_id: str
    member_id: str
    points: int
    amount_jpy: int
    reason: str
    operator: str
    ended_at: AwareDatetime


class PointsMoved(Message):
    """``paypay.points.held|spent|released|returned``: what an exchange did to a member's points."""

    request_id: UUID
    member_id: str
    points: int
    balance_after: int
    reference: str
    occurred_at: AwareDatetime


class CashbackView(Message):
    """One exchange, as the shop's backend may see it."""

    request_id: UUID
    merchant_cashback_id: str
    parent_id: UUID | None
    member_id: str
    session_id: UUID
    device_type: str
    points: int
    points_from_purchase: int
    points_from_promotion: int
    amount_jpy: int
    status: str
    paypay_status: str | None
    result_code: str | None
    cashback_id: str | None
    reversed_amount_jpy: int
    requested_at: AwareDatetime
    accepted_at: AwareDatetime | None
    succeeded_at: AwareDatetime | None
    updated_at: AwareDatetime


# --- taking it back, trying again, deciding ---------------------------------------------------------------------------


class ReversalBody(Message):
    """Take cashback back: all that is left of it unless ``amount_jpy`` says less."""

    amount_jpy: Yen | None = None
    reason: Word
    operator: Word
    idempotency_key: Key


class ReversalOrder(ReversalBody):
    """Which cashback is meant."""

    request_id: UUID


class ReversalReply(Message):
    """The answer to a reversal that was taken on."""

    reversal_id: UUID
    request_id: UUID
    merchant_cashback_reversal_id: str
    amount_jpy: int
    status: str


class ReversalRequested(Message):
    """A reversal is to be sent to PayPay."""

    reversal_id: UUID
    number: int = 0


class ReversalCheck(Message):
    """PayPay is to be asked how a reversal stands, and why now."""

    reversal_id: UUID
    reason: Literal["early", "notified", "sweep", "operator"] = "sweep"


class RetryBody(Message):
    """Who tries a failed exchange again."""

    operator: Word


class RetryOrder(RetryBody):
    """Which one is meant; the new one has an id of its own at PayPay."""

    request_id: UUID


class SweepOrdered(Message):
    """Somebody wants the sweep to run now, beside its schedule."""

    by: str = ""


class PersonDecided(Message):
    """A person has read at PayPay's panel how a request stands that the hub could not settle.

    ``again`` sends the same id once more; PayPay refuses it where it has it already.
    """

    request_id: UUID
    kind: Literal["cashback", "reversal"]
    decision: Literal["succeeded", "failed", "again"]
    amount_jpy: Yen | None = None
    by: Word
    note: Word


# --- members, where the hub itself knows them -------------------------------------------------------------------------


class PointsGranted(Message):
    """``member.points.granted``: the shop gave a member points. ``last_day`` is the last day they can be used."""

    grant_id: Key
    member_id: MemberId
    points: Points
    source: Literal["purchase", "promotion"]
    last_day: date | None = None


class BookingMade(Message):
    """``member.booking.made``: a member has booked."""

    booking_id: Key
    member_id: MemberId
    booked_at: AwareDatetime


class BookingCancelled(Message):
    """``member.booking.cancelled``: that booking does not count any more."""

    booking_id: Key
    member_id: MemberId


# --- what PayPay tells unasked ----------------------------------------------------------------------------------------


class Notification(BaseModel):
    """Any JSON object that PayPay, or somebody who says so, posts. Nothing in it is believed."""

    model_config = ConfigDict(frozen=True, extra="allow")

    notification_type: Any = None


class AuthorizationCheck(Message):
    """PayPay is to be asked how a member's authorization stands: the one that was told, whose id is sealed."""

    session_id: UUID
    sealed_authorization: str = ""
