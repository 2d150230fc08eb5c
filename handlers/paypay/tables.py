"""What the exchange of points remembers. Points and yen are not here: they live in the ledger.

Amounts are whole yen, points whole points, ids our own UUIDs. What others call attempts, leases and locks are the
hub's deliveries, calls and row locks. Whoever locks several of these rows takes them in the order cashback, reversal,
session. Source: docs/providers/paypay.md, "Tables".
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, MetaData, String, Text, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from handlers.paypay.states import Status
from hub.store.metadata import NAMING_CONVENTION
from hub.store.types import Json, UtcTime

CREATED: Final = "CREATED"
LINKED: Final = "LINKED"
DECLINED: Final = "DECLINED"
LINK_FAILED: Final = "FAILED"
EXPIRED: Final = "EXPIRED"
REVOKED: Final = "REVOKED"
SESSION_STATUSES: Final = (CREATED, LINKED, DECLINED, LINK_FAILED, EXPIRED, REVOKED)

PC: Final = "PC"
SP: Final = "SP"
APP: Final = "APP"
DEVICES: Final = (PC, SP, APP)

ID_MAX: Final = 64
TEXT_MAX: Final = 255

metadata = MetaData(naming_convention=NAMING_CONVENTION)


def among(column: str, words: tuple[str, ...]) -> str:
    """The check that a column holds one of these words."""
    return "{} IN ({})".format(column, ", ".join(f"'{word}'" for word in words))


class Base(DeclarativeBase):
    """Every table of this capability."""

    metadata = metadata
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy
        datetime: UtcTime(),
        dict[str, Any]: Json,
    }


class PayPaySession(Base):
    """A member's way to link a PayPay account. ``user_authorization_id`` is never shown, nor logged."""

    __tablename__ = "paypay_sessions"
    __table_args__ = (
        UniqueConstraint("nonce"),
        Index(None, "member_id", "created_at"),
        Index(None, "user_authorization_id"),
        Index(None, "hinted_at"),
        Index(None, "status", "expires_at"),
        CheckConstraint(among("status", SESSION_STATUSES), name="status"),
        CheckConstraint(among("device_type", DEVICES), name="device_type"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    member_id: Mapped[str] = mapped_column(String(ID_MAX))
    device_type: Mapped[str] = mapped_column(String(10))
    nonce: Mapped[str] = mapped_column(String(ID_MAX))
    reference_id: Mapped[str] = mapped_column(String(TEXT_MAX))
    scopes: Mapped[str] = mapped_column(String(TEXT_MAX))
    redirect_url: Mapped[str] = mapped_column(Text)
    link_url: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    user_authorization_id: Mapped[str | None] = mapped_column(String(ID_MAX))
    profile_identifier: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    token_hash: Mapped[str | None] = mapped_column(String(64))
    """Of the response token that decided; the same token again is answered as before."""
    authorization_expires_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]
    hinted_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Request:
    """What a cashback and a reversal have in common: their state, and what PayPay said last."""

    status: Mapped[str] = mapped_column(String(20))
    paypay_status: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    http_status: Mapped[int | None]
    result_code: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    result_code_id: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    paypay_request_id: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    requested_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    """When it was last sent and answered, or given up on."""
    accepted_at: Mapped[datetime | None]
    succeeded_at: Mapped[datetime | None]
    attempts: Mapped[int]
    """How often it was sent, as far as an outcome was written; the calls themselves are on record in the hub."""
    check_count: Mapped[int]
    """Looks since it was last sent."""
    absent_count: Mapped[int]
    """How many of those said that PayPay does not know it."""
    next_check_at: Mapped[datetime | None]
    hinted_at: Mapped[datetime | None]
    """When the look is due that the last notification asked for."""
    last_error: Mapped[str | None] = mapped_column(Text)
    review_event_id: Mapped[UUID | None]
    """The event whose delivery asked a person to look, to be closed when it is settled."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def state(self) -> Status:
        return Status(self.status)


STATUS_CHECK: Final = among("status", tuple(Status))


NOT_ENOUGH_MONEY: Final = "NOT_ENOUGH_MONEY"
WALLET_WAS_EMPTY: Final = text(f"status = '{Status.FAILED}' AND result_code = '{NOT_ENOUGH_MONEY}'")
"""Written out, as a partial index wants it; each gift asks whether there is one of late."""


class PayPayCashback(Request, Base):
    """A member exchanges points: ``amount_jpy`` yen of cashback for ``points`` points, which the ledger holds."""

    __tablename__ = "paypay_cashback_request"
    __table_args__ = (
        UniqueConstraint("merchant_cashback_id"),
        UniqueConstraint("member_id", "idempotency_key"),
        Index(None, "status", "next_check_at"),
        Index(None, "member_id", "created_at"),
        Index(None, "succeeded_at"),
        Index(None, "hinted_at"),
        Index(None, "parent_id", unique=True),
        Index(
            "ix_paypay_cashback_request_wallet_was_empty",
            "updated_at",
            postgresql_where=WALLET_WAS_EMPTY,
            sqlite_where=WALLET_WAS_EMPTY,
        ),
        CheckConstraint(STATUS_CHECK, name="status"),
        CheckConstraint(among("device_type", DEVICES), name="device_type"),
        CheckConstraint("points > 0", name="points"),
        CheckConstraint("amount_jpy > 0", name="amount_jpy"),
        CheckConstraint(
            "points_from_purchase >= 0 AND points_from_promotion >= 0"
            " AND points_from_purchase + points_from_promotion = points",
            name="points_split",
        ),
        CheckConstraint("(status = 'SUCCESS') = (succeeded_at IS NOT NULL)", name="succeeded_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    merchant_cashback_id: Mapped[str] = mapped_column(String(ID_MAX))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("paypay_cashback_request.id"))
    """The failed request that this one replaces."""
    idempotency_key: Mapped[str] = mapped_column(String(ID_MAX))
    member_id: Mapped[str] = mapped_column(String(ID_MAX))
    session_id: Mapped[UUID] = mapped_column(ForeignKey("paypay_sessions.id"))
    user_authorization_id: Mapped[str] = mapped_column(String(ID_MAX))
    device_type: Mapped[str] = mapped_column(String(10))
    points: Mapped[int] = mapped_column(BigInteger)
    points_from_purchase: Mapped[int] = mapped_column(BigInteger)
    points_from_promotion: Mapped[int] = mapped_column(BigInteger)
    amount_jpy: Mapped[int] = mapped_column(BigInteger)
    wallet_type: Mapped[str] = mapped_column(String(20))
    order_description: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    cashback_id: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    """PayPay's own id."""


class PayPayReversal(Request, Base):
    """Yen of a cashback are taken back; points go back to the member in proportion."""

    __tablename__ = "paypay_reverse_cashback_request"
    __table_args__ = (
        # PostgreSQL takes names of up to 63 letters.
        UniqueConstraint("merchant_cashback_reversal_id", name="uq_paypay_reverse_cashback_request_merchant_id"),
        UniqueConstraint("cashback_request_id", "idempotency_key", name="uq_paypay_reverse_cashback_request_key"),
        Index(None, "status", "next_check_at"),
        Index(None, "succeeded_at"),
        Index(None, "hinted_at"),
        CheckConstraint(STATUS_CHECK, name="status"),
        CheckConstraint("requested_amount_jpy > 0", name="requested_amount_jpy"),
        CheckConstraint(
            "reversed_amount_jpy >= 0 AND reversed_amount_jpy <= requested_amount_jpy", name="reversed_amount_jpy"
        ),
        CheckConstraint(
            "points_to_purchase >= 0 AND points_to_promotion >= 0"
            " AND points_to_purchase + points_to_promotion = returned_points",
            name="points_split",
        ),
        CheckConstraint("(status = 'SUCCESS') = (succeeded_at IS NOT NULL)", name="succeeded_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    merchant_cashback_reversal_id: Mapped[str] = mapped_column(String(ID_MAX))
    cashback_request_id: Mapped[UUID] = mapped_column(ForeignKey("paypay_cashback_request.id"))
    idempotency_key: Mapped[str] = mapped_column(String(ID_MAX))
    requested_amount_jpy: Mapped[int] = mapped_column(BigInteger)
    reversed_amount_jpy: Mapped[int] = mapped_column(BigInteger)
    """What PayPay really took back."""
    returned_points: Mapped[int] = mapped_column(BigInteger)
    points_to_purchase: Mapped[int] = mapped_column(BigInteger)
    points_to_promotion: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(TEXT_MAX))
    operator: Mapped[str] = mapped_column(String(TEXT_MAX))
    cashback_reversal_id: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    """PayPay's own id."""
