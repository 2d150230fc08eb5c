"""The invoices of payments: how far each has come, and why one stands still.

Source: docs/providers/paypal.md, "Invoices" and "Data model".
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from handlers.paypal.tables import ID_CHARS, Base

NONE, DRAFTED, SENT, PAID, WAIVED = "none", "drafted", "sent", "paid", "waived"
OPEN_STATES: Final = (NONE, DRAFTED, SENT)
NUMBER_CHARS: Final = 25
"""PayPal's search takes no longer number."""
_WAITS: Final = text("issue IS NOT NULL")


class PaypalInvoice(Base):
    """The one invoice of a sale. ``state`` only goes forward, but for a draft that was deleted at PayPal; with an
    ``issue`` it waits for a person.

    ``refunded_minor`` is how much of it was told to be recorded as given back. ``dated`` is a day in UTC, as PayPal
    writes it. ``turn`` counts how often a person has let a step be tried again.
    """

    __tablename__ = "paypal_invoices"
    __table_args__ = (
        CheckConstraint("state IN ('none', 'drafted', 'sent', 'paid', 'waived')", name="state"),
        CheckConstraint("state IN ('none', 'waived') OR invoice_id IS NOT NULL", name="invoice_id"),
        CheckConstraint("refunded_minor >= 0 AND refunded_minor <= amount_minor", name="refunded"),
        Index("uq_paypal_invoices_invoice_number", "invoice_number", unique=True),
        Index("ix_paypal_invoices_state", "state", "created_at"),
        Index("ix_paypal_invoices_issue", "created_at", postgresql_where=_WAITS, sqlite_where=_WAITS),
    )

    payment_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    invoice_number: Mapped[str] = mapped_column(String(NUMBER_CHARS))
    invoice_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    state: Mapped[str] = mapped_column(String(20))
    subscription_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    custom_id: Mapped[str | None] = mapped_column(String(ID_CHARS))
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(10))
    dated: Mapped[str] = mapped_column(String(10))
    has_recipient: Mapped[bool] = mapped_column(Boolean)
    refunded_minor: Mapped[int] = mapped_column(BigInteger)
    turn: Mapped[int]
    issue: Mapped[str | None] = mapped_column(String(100))
    issue_step: Mapped[str | None] = mapped_column(String(20))
    review_event_id: Mapped[UUID | None]
    decided_by: Mapped[str | None] = mapped_column(String(200))
    decided_note: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
