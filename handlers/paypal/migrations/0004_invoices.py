"""Invoices of payments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "paypal_invoices",
        sa.Column("payment_id", sa.String(length=127), nullable=False),
        sa.Column("invoice_number", sa.String(length=25), nullable=False),
        sa.Column("invoice_id", sa.String(length=127), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("subscription_id", sa.String(length=127), nullable=True),
        sa.Column("custom_id", sa.String(length=127), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=10), nullable=False),
        sa.Column("dated", sa.String(length=10), nullable=False),
        sa.Column("has_recipient", sa.Boolean(), nullable=False),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("issue", sa.String(length=100), nullable=True),
        sa.Column("issue_step", sa.String(length=20), nullable=True),
        sa.Column("review_event_id", sa.Uuid(), nullable=True),
        sa.Column("decided_by", sa.String(length=200), nullable=True),
        sa.Column("decided_note", sa.Text(), nullable=True),
        sa.Column("decided_at", UtcTime(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint("state IN ('none', 'drafted', 'sent', 'paid', 'waived')", name="ck_paypal_invoices_state"),
        sa.CheckConstraint(
            "state IN ('none', 'waived') OR invoice_id IS NOT NULL", name="ck_paypal_invoices_invoice_id"
        ),
        sa.CheckConstraint(
            "refunded_minor >= 0 AND refunded_minor <= amount_minor", name="ck_paypal_invoices_refunded"
        ),
        sa.PrimaryKeyConstraint("payment_id", name="pk_paypal_invoices"),
    )
    op.create_index("uq_paypal_invoices_invoice_number", "paypal_invoices", ["invoice_number"], unique=True)
    op.create_index("ix_paypal_invoices_state", "paypal_invoices", ["state", "created_at"], unique=False)
    op.create_index(
        "ix_paypal_invoices_issue",
        "paypal_invoices",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("issue IS NOT NULL"),
        sqlite_where=sa.text("issue IS NOT NULL"),
    )
