"""What the wallet remembers about payments. Balances are not here: they live in the ledger.

Amounts are in the currency's minor unit (dong); ids are UUIDs except SePay's own transfer id. Whoever locks several of
these rows takes them in the order bank transaction, intent, wallet. Source: docs/providers/sepay.md, "Data model".
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hub.store.metadata import NAMING_CONVENTION
from hub.store.types import Json, UtcTime

ACTIVE: Final = "active"
SUSPENDED: Final = "suspended"

WALLET_TOPUP: Final = "wallet_topup"
ORDER_PAYMENT: Final = "order_payment"
SYMBOL_PURCHASE: Final = "symbol_purchase"

REQUIRES_PAYMENT_METHOD: Final = "requires_payment_method"
PROCESSING: Final = "processing"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
EXPIRED: Final = "expired"
OPEN_STATUSES: Final = (REQUIRES_PAYMENT_METHOD, PROCESSING)
"""An intent or attempt that still waits for its money."""

_PAYMENT_STATUS = f"status IN ('{REQUIRES_PAYMENT_METHOD}', '{PROCESSING}', '{SUCCEEDED}', '{FAILED}', '{EXPIRED}')"
_IS_OPEN = text(f"status IN ('{REQUIRES_PAYMENT_METHOD}', '{PROCESSING}')")

ACCOUNT_MISMATCH: Final = "account_mismatch"
"""The outcome of a transfer to an account that is not ours: it is not in the books."""
_IS_UNBOOKED = text(f"outcome = '{ACCOUNT_MISMATCH}'")

metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Base(DeclarativeBase):
    """Every table of this capability."""

    metadata = metadata
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy
        datetime: UtcTime(),
        dict[str, Any]: Json,
    }


class PayWallet(Base):
    """One wallet per user and currency; its money is the ledger account ``sepay:wallet:<id>``."""

    __tablename__ = "pay_wallets"
    __table_args__ = (
        UniqueConstraint("user_id", "currency"),
        CheckConstraint("currency IN ('VND', 'USD')", name="currency"),
        CheckConstraint(f"status IN ('{ACTIVE}', '{SUSPENDED}')", name="status"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    currency: Mapped[str] = mapped_column(String(10))
    status: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def is_active(self) -> bool:
        return self.status == ACTIVE


class PayPaymentIntent(Base):
    """A payment that somebody means to make, recognised by its order code in the transfer's text."""

    __tablename__ = "pay_payment_intents"
    __table_args__ = (
        UniqueConstraint("order_code"),
        UniqueConstraint("order_code_norm"),
        Index(None, "user_id", "status"),
        Index(None, "user_id", "created_at"),
        Index(None, "order_id"),
        Index(None, "status", "expires_at"),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("purpose IN ('wallet_topup', 'order_payment', 'symbol_purchase')", name="purpose"),
        CheckConstraint(_PAYMENT_STATUS, name="status"),
    )

    intent_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    # Orders name their latest intent, too: the tables refer to each other.
    order_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("pay_symbol_orders.order_id", name="fk_pay_payment_intents_order_id", use_alter=True)
    )
    purpose: Mapped[str] = mapped_column(String(20))
    amount_minor: Mapped[int] = mapped_column("amount", BigInteger)
    currency: Mapped[str] = mapped_column(String(10))
    status: Mapped[str] = mapped_column(String(30))
    order_code: Mapped[str] = mapped_column(String(255))
    order_code_norm: Mapped[str] = mapped_column(String(64))
    reference_code: Mapped[str | None] = mapped_column(String(255))
    qr_code_url: Mapped[str | None] = mapped_column(Text)
    deep_link: Mapped[str | None] = mapped_column(Text)
    return_url: Mapped[str | None] = mapped_column(Text)
    cancel_url: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime]
    details: Mapped[dict[str, Any]] = mapped_column("metadata")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    def has_expired(self, now: datetime) -> bool:
        """Whether the payer is too late, unless the money has come already."""
        return now > self.expires_at and self.status != SUCCEEDED


class PayPaymentAttempt(Base):
    """One way to pay an intent: the account, the content and the QR image that the payer was shown."""

    __tablename__ = "pay_payment_attempts"
    __table_args__ = (
        Index(None, "intent_id"),
        Index("ix_pay_payment_attempts_open", "intent_id", postgresql_where=_IS_OPEN, sqlite_where=_IS_OPEN),
        CheckConstraint(_PAYMENT_STATUS, name="status"),
    )

    attempt_id: Mapped[UUID] = mapped_column(primary_key=True)
    intent_id: Mapped[UUID] = mapped_column(ForeignKey("pay_payment_intents.intent_id"))
    status: Mapped[str] = mapped_column(String(30))
    bank_code: Mapped[str | None] = mapped_column(String(10))
    account_number: Mapped[str | None] = mapped_column(String(50))
    account_name: Mapped[str | None] = mapped_column(String(255))
    transfer_content: Mapped[str | None] = mapped_column(Text)
    transfer_amount_minor: Mapped[int | None] = mapped_column("transfer_amount", BigInteger)
    qr_image_url: Mapped[str | None] = mapped_column(Text)
    qr_svg: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime | None]
    details: Mapped[dict[str, Any]] = mapped_column("metadata")
    created_at: Mapped[datetime]


class PayPayment(Base):
    """Money that has come. ``provider_payment_id`` is unique, so that no transfer can pay twice."""

    __tablename__ = "pay_payments"
    __table_args__ = (
        UniqueConstraint("provider_payment_id"),
        Index(None, "user_id", "created_at"),
        Index(None, "intent_id"),
        Index(None, "order_id"),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint(_PAYMENT_STATUS, name="status"),
    )

    payment_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    order_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("pay_symbol_orders.order_id", name="fk_pay_payments_order_id", use_alter=True)
    )
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("pay_payment_intents.intent_id"))
    amount_minor: Mapped[int] = mapped_column("amount", BigInteger)
    status: Mapped[str] = mapped_column(String(30))
    provider_payment_id: Mapped[str | None] = mapped_column(String(255))
    message: Mapped[str | None] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column("metadata")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PayBankTransaction(Base):
    """One transfer as the bank booked it, in either direction.

    ``outcome`` says what became of it, ``in_suspense`` whether its money waits in the suspense account for a person.
    ``webhook_id`` is the webhook's number of a transfer that the statement's version 2 brought first.
    """

    __tablename__ = "pay_bank_transactions"
    __table_args__ = (
        Index(None, "reference_number"),
        Index(None, "account_number"),
        Index(None, "transaction_date"),
        Index(None, "intent_id"),
        Index(
            "ix_pay_bank_transactions_in_suspense",
            "created_at",
            postgresql_where=text("in_suspense"),
            sqlite_where=text("in_suspense"),
        ),
        Index(
            "ix_pay_bank_transactions_unbooked",
            "created_at",
            postgresql_where=_IS_UNBOOKED,
            sqlite_where=_IS_UNBOOKED,
        ),
        Index(None, "provider_uuid"),
        Index(None, "webhook_id"),
        CheckConstraint("amount_in >= 0 AND amount_out >= 0 AND (amount_in = 0) <> (amount_out = 0)", name="amounts"),
        CheckConstraint("source IN ('webhook', 'reconcile', 'callback', 'manual')", name="source"),
    )

    sepay_tx_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    provider_uuid: Mapped[str | None] = mapped_column(String(36))
    transaction_date: Mapped[datetime]
    account_number: Mapped[str] = mapped_column(String(50))
    sub_account: Mapped[str | None] = mapped_column(String(50))
    amount_in_minor: Mapped[int] = mapped_column("amount_in", BigInteger)
    amount_out_minor: Mapped[int] = mapped_column("amount_out", BigInteger)
    accumulated_minor: Mapped[int | None] = mapped_column("accumulated", BigInteger)
    content: Mapped[str | None] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    payment_code: Mapped[str | None] = mapped_column(String(64))
    reference_number: Mapped[str | None] = mapped_column(String(100))
    gateway: Mapped[str] = mapped_column(String(100))
    bank_code: Mapped[str | None] = mapped_column(String(10))
    intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("pay_payment_intents.intent_id"))
    attempt_id: Mapped[UUID | None] = mapped_column(ForeignKey("pay_payment_attempts.attempt_id"))
    payment_id: Mapped[UUID | None] = mapped_column(ForeignKey("pay_payments.payment_id"))
    source: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[datetime]
    event_id: Mapped[UUID]
    outcome: Mapped[str] = mapped_column(String(40))
    process_error: Mapped[str | None] = mapped_column(Text)
    in_suspense: Mapped[bool] = mapped_column(Boolean)
    details: Mapped[dict[str, Any]] = mapped_column("metadata")
    webhook_id: Mapped[int | None] = mapped_column(BigInteger)
