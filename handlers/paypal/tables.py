"""What the hub remembers of PayPal. Money is not here: it lives in the ledger, under the sale's id.

Ids are PayPal's; amounts are in the currency's minor unit. Source: docs/providers/paypal.md, "Data model".
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hub.store.metadata import NAMING_CONVENTION
from hub.store.types import Json, UtcTime

ID_CHARS: Final = 127
"""No id of PayPal's is longer; ``custom_id`` may be as long."""
APPROVAL_PENDING: Final = "APPROVAL_PENDING"
STATUSES: Final = ("APPROVAL_PENDING", "APPROVED", "ACTIVE", "SUSPENDED", "EXPIRED", "CANCELLED")
"""In the order of a subscription's life."""
CREATED, REFUSED, FAILED = "created", "refused", "failed"

metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Base(DeclarativeBase):
    """Every table of this capability."""

    metadata = metadata
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy
        datetime: UtcTime(),
        dict[str, Any]: Json,
    }


class PaypalCertificate(Base):
    """A certificate that proved a webhook, so that a restart does not fetch it again."""

    __tablename__ = "paypal_certificates"

    url: Mapped[str] = mapped_column(String(500), primary_key=True)
    pem: Mapped[str] = mapped_column(Text)
    fetched_at: Mapped[datetime]


class PaypalEventRecord(Base):
    """One row for every event, whatever became of it: what ``paypal.event.recorded`` says. No names, no addresses."""

    __tablename__ = "paypal_event_records"
    __table_args__ = (
        CheckConstraint("verdict IN ('valid', 'invalid', 'undecided', 'simulated')", name="verdict"),
        Index("ix_paypal_event_records_received_at", "received_at"),
        Index("ix_paypal_event_records_subscription_id", "subscription_id"),
    )

    record_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    webhook_event_id: Mapped[UUID]
    event_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    event_type: Mapped[str] = mapped_column(String(ID_CHARS))
    verdict: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(String(50))
    subscription_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    custom_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    payment_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    amount_minor: Mapped[int | None] = mapped_column(BigInteger)
    currency: Mapped[str | None] = mapped_column(String(10))
    received_at: Mapped[datetime]
    trace_id: Mapped[str] = mapped_column(String(32))


class PaypalSubscriptionRequest(Base):
    """What became of a shop's request to subscribe a buyer. A repeat of the request is answered from here."""

    __tablename__ = "paypal_subscription_requests"
    __table_args__ = (
        CheckConstraint("state IN ('created', 'refused', 'failed')", name="state"),
        CheckConstraint("(state = 'created') = (approval_url IS NOT NULL)", name="approval_url"),
    )

    request_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    state: Mapped[str] = mapped_column(String(20))
    plan_id: Mapped[str] = mapped_column(String(50))
    custom_id: Mapped[str] = mapped_column(String(ID_CHARS))
    subscription_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    approval_url: Mapped[str | None] = mapped_column(Text)
    issue: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PaypalSubscription(Base):
    """A subscription and whose it is. One that an event names before anybody asked for it begins as a stub.

    ``status_at`` is PayPal's time of the status: what is older changes nothing. ``status`` is unknown in a stub.
    ``account`` is which of our accounts it is of (None: the main one), ``country`` the buyer's as PayPal says it.
    ``abandoned_at`` is when its buyer had not approved it for so long that nobody waits any more.
    """

    __tablename__ = "paypal_subscriptions"
    __table_args__ = (
        CheckConstraint(
            "status IN ('APPROVAL_PENDING', 'APPROVED', 'ACTIVE', 'SUSPENDED', 'CANCELLED', 'EXPIRED')", name="status"
        ),
        Index("ix_paypal_subscriptions_custom_id", "custom_id"),
        Index("ix_paypal_subscriptions_status", "status", "created_at"),
    )

    subscription_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    account: Mapped[str | None] = mapped_column(String(50))
    custom_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    plan_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    email: Mapped[str | None] = mapped_column(String(254))
    country: Mapped[str | None] = mapped_column(String(2))
    status: Mapped[str | None] = mapped_column(String(20))
    status_at: Mapped[datetime | None]
    abandoned_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PaypalPayment(Base):
    """A sale of PayPal's: a payment of a subscription, or a one-off one. What was posted of it is in the ledger.

    ``refunded_minor`` never passes ``amount_minor``; ``fee_minor`` is None until PayPal has said it, and
    ``fee_refunded_minor`` is what of it came back with refunds (None: nothing yet). ``asked_at`` is when a sweep last
    had PayPal asked about it.
    """

    __tablename__ = "paypal_payments"
    __table_args__ = (
        CheckConstraint("refunded_minor >= 0 AND refunded_minor <= amount_minor", name="refunded"),
        CheckConstraint(
            "state IN ('pending', 'completed', 'held', 'denied', 'partially_refunded', 'refunded', 'reversed')",
            name="state",
        ),
        Index("ix_paypal_payments_subscription_id", "subscription_id"),
        Index("ix_paypal_payments_state", "state", "created_at"),
    )

    payment_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    account: Mapped[str | None] = mapped_column(String(50))
    subscription_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    custom_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    state: Mapped[str] = mapped_column(String(20))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(10))
    fee_minor: Mapped[int | None] = mapped_column(BigInteger)
    refunded_minor: Mapped[int] = mapped_column(BigInteger)
    fee_refunded_minor: Mapped[int | None] = mapped_column(BigInteger)
    reason_code: Mapped[str | None] = mapped_column(String(ID_CHARS))
    asked_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class PaypalHold(Base):
    """A booked payment whose money PayPal keeps back, until somebody says that it is ours to have."""

    __tablename__ = "paypal_holds"

    payment_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    held_at: Mapped[datetime]
    released_at: Mapped[datetime | None]


class PaypalToldFailure(Base):
    """A delivery that was parked, and that the error queue has been told of."""

    __tablename__ = "paypal_told_failures"

    delivery_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    told_at: Mapped[datetime]


PLANS: Final = "plans"


class PaypalPlanChange(Base):
    """One row: when PayPal last told of a plan. Whoever keeps the list of plans reads it anew then."""

    __tablename__ = "paypal_plan_changes"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    changed_at: Mapped[datetime]
