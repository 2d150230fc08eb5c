"""Where the money of a payment is, what a person must look at, and which refunds are in doubt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import Json

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("paypay_payments", sa.Column("booked_as", sa.String(length=10), nullable=True))
    for name in ("bookings", "unpaid_reads"):
        op.add_column("paypay_payments", sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("paypay_payments", sa.Column("troubles", Json, server_default=sa.text("'{}'"), nullable=False))
    op.add_column("paypay_refunds", sa.Column("doubt", sa.String(length=10), nullable=True))
    op.create_index("ix_paypay_payments_paypay_payment_id", "paypay_payments", ["paypay_payment_id"], unique=False)
    _fill()
    op.drop_column("paypay_payments", "review_event_id")


def _fill() -> None:
    payments = sa.table(
        "paypay_payments",
        sa.column("id", sa.Uuid()),
        sa.column("status", sa.String()),
        sa.column("captured_jpy", sa.BigInteger()),
        sa.column("refunded_jpy", sa.BigInteger()),
        sa.column("booked_as", sa.String()),
        sa.column("bookings", sa.Integer()),
        sa.column("troubles", Json),
        sa.column("review_event_id", sa.Uuid()),
    )
    c, conn = payments.c, op.get_bind()
    conn.execute(sa.update(payments).where(c.captured_jpy.is_not(None)).values(booked_as="sales", bookings=1))
    undone = (c.status == "CANCELLED_BY_US") & (c.refunded_jpy == 0)
    conn.execute(sa.update(payments).where(undone).values(booked_as=None, captured_jpy=None))
    conn.execute(
        sa.update(sa.table("paypay_refunds", sa.column("status"), sa.column("doubt")))
        .where(sa.column("status") == "UNKNOWN")
        .values(doubt="open")
    )
    for row in conn.execute(sa.select(c.id, c.review_event_id).where(c.review_event_id.is_not(None))).all():
        troubles = {"payment_refused_strangely": str(row.review_event_id)}
        conn.execute(sa.update(payments).where(c.id == row.id).values(troubles=troubles))
