"""What payments remember. Yen are not here: they live in the ledger.

Whoever locks several of these rows takes the payment first. Source: docs/providers/paypay.md, "Tables".
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from handlers.paypay.payment_words import PaymentStatus
from handlers.paypay.tables import ID_MAX, TEXT_MAX, Base, among

CODE: Final = "code"
DIRECT: Final = "direct"

SENT_NEW: Final = "NEW"
DONE: Final = "DONE"
PENDING: Final = "PENDING"
UNKNOWN: Final = "UNKNOWN"
REFUSED: Final = "REFUSED"
PART_STATUSES: Final = (SENT_NEW, DONE, PENDING, UNKNOWN, REFUSED)
OPEN_PARTS: Final = (SENT_NEW, PENDING, UNKNOWN)
CLOSED_PARTS: Final = (DONE, REFUSED)
IN_DOUBT: Final = "open"
REFUSED_IN_DOUBT: Final = "refused"


class PayPayPayment(Base):
    """One payment, by QR code or from a member who has agreed to direct debits."""

    __tablename__ = "paypay_payments"
    __table_args__ = (
        UniqueConstraint("merchant_payment_id"),
        UniqueConstraint("idempotency_key"),
        Index(None, "status", "updated_at"),
        Index(None, "member_id", "created_at"),
        Index(None, "hinted_at"),
        Index(None, "paypay_payment_id"),
        CheckConstraint(among("status", tuple(PaymentStatus)), name="status"),
        CheckConstraint(among("kind", (CODE, DIRECT)), name="kind"),
        CheckConstraint("amount_jpy > 0", name="amount_jpy"),
        CheckConstraint("captured_jpy IS NULL OR captured_jpy > 0", name="captured_jpy"),
        CheckConstraint("refunded_jpy >= 0 AND refunded_jpy <= COALESCE(captured_jpy, 0)", name="refunded_jpy"),
        CheckConstraint("(kind = 'direct') = (user_authorization_id IS NOT NULL)", name="user_authorization_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    merchant_payment_id: Mapped[str] = mapped_column(String(ID_MAX))
    idempotency_key: Mapped[str] = mapped_column(String(ID_MAX))
    member_id: Mapped[str | None] = mapped_column(String(ID_MAX))
    session_id: Mapped[UUID | None] = mapped_column(ForeignKey("paypay_sessions.id"))
    user_authorization_id: Mapped[str | None] = mapped_column(String(ID_MAX))
    amount_jpy: Mapped[int] = mapped_column(BigInteger)
    captured_jpy: Mapped[int | None] = mapped_column(BigInteger)
    """What was really taken, once it is in the books and as long as no cancel has undone it."""
    booked_as: Mapped[str | None] = mapped_column(String(10))
    """Where that money is: ``sales`` or ``suspense``."""
    bookings: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """How often money of it came; more than once where it came again after a cancel."""
    refunded_jpy: Mapped[int] = mapped_column(BigInteger)
    is_authorization: Mapped[bool]
    order_description: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    status: Mapped[str] = mapped_column(String(20))
    paypay_payment_id: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    paypay_status: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    http_status: Mapped[int | None]
    result_code: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    result_code_id: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    last_error: Mapped[str | None] = mapped_column(Text)
    requested_at: Mapped[datetime]
    poll_until: Mapped[datetime]
    authorized_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    """When an authorization ends."""
    paid_at: Mapped[datetime | None]
    """When PayPay took it: from here the time to cancel runs."""
    completed_at: Mapped[datetime | None]
    """When it was booked as a sale."""
    ended_at: Mapped[datetime | None]
    is_unwanted: Mapped[bool]
    """Somebody asked to cancel it."""
    reads: Mapped[int]
    absent_reads: Mapped[int]
    unpaid_reads: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """How many reads in a row have found nobody's money."""
    reads_since: Mapped[datetime | None]
    cancels: Mapped[int]
    next_look_at: Mapped[datetime | None]
    """When the next look is due that a timer brings."""
    hinted_at: Mapped[datetime | None]
    """When the last look is due that a notification asked for."""
    troubles: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default=text("'{}'"))
    """What a person was asked to look at → the event whose review it is."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def state(self) -> PaymentStatus:
        return PaymentStatus(self.status)


class PayPayCode(Base):
    """The QR code of a payment; ``wanted`` is what of it is asked for beside the payment's own members."""

    __tablename__ = "paypay_codes"

    payment_id: Mapped[UUID] = mapped_column(ForeignKey("paypay_payments.id"), primary_key=True)
    wanted: Mapped[dict[str, Any]]
    code_id: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    url: Mapped[str | None] = mapped_column(Text)
    deeplink: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class Part:
    """What a capture, a revert and a refund have in common."""

    id: Mapped[UUID] = mapped_column(primary_key=True)
    payment_id: Mapped[UUID] = mapped_column(ForeignKey("paypay_payments.id"))
    idempotency_key: Mapped[str] = mapped_column(String(ID_MAX))
    status: Mapped[str] = mapped_column(String(10))
    result_code: Mapped[str | None] = mapped_column(String(TEXT_MAX))
    attempts: Mapped[int]
    """How often this was tried under new ids before."""
    looks: Mapped[int]
    requested_at: Mapped[datetime]
    done_at: Mapped[datetime | None]


class PayPayCapture(Part, Base):
    """Money that is to be taken of an authorization. After a time-out it gets another id; the old one is on record."""

    __tablename__ = "paypay_captures"
    __table_args__ = (
        UniqueConstraint("merchant_capture_id"),
        UniqueConstraint("payment_id", "idempotency_key"),
        CheckConstraint(among("status", PART_STATUSES), name="status"),
        CheckConstraint("amount_jpy > 0", name="amount_jpy"),
    )

    merchant_capture_id: Mapped[str] = mapped_column(String(ID_MAX))
    amount_jpy: Mapped[int] = mapped_column(BigInteger)


class PayPayRevert(Part, Base):
    """An authorization that is to be given up."""

    __tablename__ = "paypay_reverts"
    __table_args__ = (
        UniqueConstraint("merchant_revert_id"),
        UniqueConstraint("payment_id", "idempotency_key"),
        CheckConstraint(among("status", PART_STATUSES), name="status"),
    )

    merchant_revert_id: Mapped[str] = mapped_column(String(ID_MAX))
    reason: Mapped[str | None] = mapped_column(String(TEXT_MAX))


class PayPayRefund(Part, Base):
    """Money that is to be given back."""

    __tablename__ = "paypay_refunds"
    __table_args__ = (
        UniqueConstraint("merchant_refund_id"),
        UniqueConstraint("payment_id", "idempotency_key"),
        CheckConstraint(among("status", PART_STATUSES), name="status"),
        CheckConstraint("amount_jpy > 0", name="amount_jpy"),
    )

    merchant_refund_id: Mapped[str] = mapped_column(String(ID_MAX))
    amount_jpy: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(TEXT_MAX))
    doubt: Mapped[str | None] = mapped_column(String(10))
    """A try under this id ended without a verdict (``open``), and a later one was refused (``refused``)."""
