"""Who may use what until when, and what renews itself. Source: docs/providers/sepay-orders.md, "Tables"."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, SmallInteger, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from handlers.sepay.tables import Base

LICENSE_ACTIVE: Final = "active"
LICENSE_EXPIRED: Final = "expired"
LICENSE_SUSPENDED: Final = "suspended"
LICENSE_REVOKED: Final = "revoked"
LICENSE_STATUSES: Final = (LICENSE_ACTIVE, LICENSE_EXPIRED, LICENSE_SUSPENDED, LICENSE_REVOKED)

PENDING_ACTIVATION: Final = "pending_activation"
RENEWING: Final = "active"
PAUSED: Final = "paused"
RENEWAL_SUSPENDED: Final = "suspended"
RENEWAL_CANCELLED: Final = "cancelled"
COMPLETED: Final = "completed"
LIVE_STATUSES: Final = (PENDING_ACTIVATION, RENEWING, PAUSED)
"""A subscription that may still renew; there is one per user and symbol at most."""
SUBSCRIPTION_STATUSES: Final = (*LIVE_STATUSES, RENEWAL_SUSPENDED, RENEWAL_CANCELLED, COMPLETED)
ATTEMPT_STATUSES: Final = ("success", "failed", "skipped")

_IS_ACTIVE = text(f"status = '{LICENSE_ACTIVE}'")
_IS_LIVE = text(f"status IN {LIVE_STATUSES!r}")
_IS_RENEWING = text(f"status = '{RENEWING}'")


class SymbolAutoRenewSubscription(Base):
    """Somebody wants a licence renewed. ``current_license_id`` is no foreign key: the licence points back."""

    __tablename__ = "symbol_autorenew_subscriptions"
    __table_args__ = (
        Index(
            "uq_symbol_autorenew_subscriptions_live",
            "user_id",
            "symbol_id",
            unique=True,
            postgresql_where=_IS_LIVE,
            sqlite_where=_IS_LIVE,
        ),
        Index(
            "ix_symbol_autorenew_subscriptions_due",
            "next_billing_at",
            postgresql_where=_IS_RENEWING,
            sqlite_where=_IS_RENEWING,
        ),
        Index(None, "user_id", "created_at"),
        CheckConstraint(f"status IN {SUBSCRIPTION_STATUSES!r}", name="status"),
        CheckConstraint("price > 0", name="price"),
        CheckConstraint("cycle_days > 0", name="cycle_days"),
        CheckConstraint("consecutive_failures >= 0", name="consecutive_failures"),
    )

    subscription_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    symbol_id: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(20))
    cycle_days: Mapped[int]
    price_minor: Mapped[int] = mapped_column("price", BigInteger)
    payment_method: Mapped[str] = mapped_column(String(30))
    last_order_id: Mapped[UUID | None] = mapped_column(ForeignKey("pay_symbol_orders.order_id"))
    current_license_id: Mapped[UUID | None]
    next_billing_at: Mapped[datetime | None]
    last_attempt_at: Mapped[datetime | None]
    last_success_at: Mapped[datetime | None]
    consecutive_failures: Mapped[int] = mapped_column(SmallInteger)
    grace_period_hours: Mapped[int]
    retry_interval_minutes: Mapped[int]
    max_retry_attempts: Mapped[int] = mapped_column(SmallInteger)
    details: Mapped[dict[str, Any]] = mapped_column("metadata")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PayUserSymbolLicense(Base):
    """One licence; ``end_at`` None = for ever. A user has one active licence per symbol at most.

    ``reminded_end_at`` is the end of which its user was reminded, so that each end is announced once.
    """

    __tablename__ = "pay_user_symbol_licenses"
    __table_args__ = (
        Index(
            "uq_pay_user_symbol_licenses_active",
            "user_id",
            "symbol_id",
            unique=True,
            postgresql_where=_IS_ACTIVE,
            sqlite_where=_IS_ACTIVE,
        ),
        Index(None, "status", "end_at"),
        Index(None, "user_id", "created_at"),
        CheckConstraint(f"status IN {LICENSE_STATUSES!r}", name="status"),
        CheckConstraint("end_at > start_at", name="end_at"),
    )

    license_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    symbol_id: Mapped[int] = mapped_column(BigInteger)
    order_id: Mapped[UUID | None] = mapped_column(ForeignKey("pay_symbol_orders.order_id"))
    subscription_id: Mapped[UUID | None] = mapped_column(ForeignKey("symbol_autorenew_subscriptions.subscription_id"))
    status: Mapped[str] = mapped_column(String(20))
    start_at: Mapped[datetime]
    end_at: Mapped[datetime | None]
    reminded_end_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    def is_open(self, now: datetime) -> bool:
        """Whether it gives access: an end that has passed counts even before the daily job has run."""
        return self.status == LICENSE_ACTIVE and (self.end_at is None or self.end_at > now)


class SymbolAutoRenewAttempt(Base):
    """One try to renew, and why it failed or was skipped."""

    __tablename__ = "symbol_autorenew_attempts"
    __table_args__ = (
        Index(None, "subscription_id", "ran_at"),
        CheckConstraint(f"status IN {ATTEMPT_STATUSES!r}", name="status"),
    )

    attempt_id: Mapped[UUID] = mapped_column(primary_key=True)
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("symbol_autorenew_subscriptions.subscription_id"))
    order_id: Mapped[UUID | None] = mapped_column(ForeignKey("pay_symbol_orders.order_id"))
    status: Mapped[str] = mapped_column(String(20))
    fail_reason: Mapped[str | None] = mapped_column(Text)
    charged_minor: Mapped[int | None] = mapped_column("charged_amount", BigInteger)
    balance_minor: Mapped[int | None] = mapped_column("wallet_balance_snapshot", BigInteger)
    ran_at: Mapped[datetime]
