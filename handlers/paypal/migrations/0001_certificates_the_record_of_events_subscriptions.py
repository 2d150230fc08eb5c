"""Certificates, the record of events, subscriptions and payments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "paypal_certificates",
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.Column("fetched_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("url", name="pk_paypal_certificates"),
    )
    op.create_table(
        "paypal_event_records",
        sa.Column("record_id", sa.String(length=100), nullable=False),
        sa.Column("webhook_event_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.String(length=127), nullable=True),
        sa.Column("event_type", sa.String(length=127), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=50), nullable=False),
        sa.Column("subscription_id", sa.String(length=127), nullable=True),
        sa.Column("custom_id", sa.String(length=127), nullable=True),
        sa.Column("payment_id", sa.String(length=127), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=10), nullable=True),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("trace_id", sa.String(length=32), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('valid', 'invalid', 'undecided', 'simulated')", name="ck_paypal_event_records_verdict"
        ),
        sa.PrimaryKeyConstraint("record_id", name="pk_paypal_event_records"),
    )
    op.create_index("ix_paypal_event_records_received_at", "paypal_event_records", ["received_at"], unique=False)
    op.create_index(
        "ix_paypal_event_records_subscription_id", "paypal_event_records", ["subscription_id"], unique=False
    )
    op.create_table(
        "paypal_payments",
        sa.Column("payment_id", sa.String(length=127), nullable=False),
        sa.Column("subscription_id", sa.String(length=127), nullable=True),
        sa.Column("custom_id", sa.String(length=127), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=10), nullable=False),
        sa.Column("fee_minor", sa.BigInteger(), nullable=True),
        sa.Column("refunded_minor", sa.BigInteger(), nullable=False),
        sa.Column("reason_code", sa.String(length=127), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'completed', 'held', 'denied', 'partially_refunded', 'refunded', 'reversed')",
            name="ck_paypal_payments_state",
        ),
        sa.CheckConstraint(
            "refunded_minor >= 0 AND refunded_minor <= amount_minor", name="ck_paypal_payments_refunded"
        ),
        sa.PrimaryKeyConstraint("payment_id", name="pk_paypal_payments"),
    )
    op.create_index("ix_paypal_payments_state", "paypal_payments", ["state", "created_at"], unique=False)
    op.create_index("ix_paypal_payments_subscription_id", "paypal_payments", ["subscription_id"], unique=False)
    op.create_table(
        "paypal_plan_changes",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("changed_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_paypal_plan_changes"),
    )
    op.create_table(
        "paypal_subscription_requests",
        sa.Column("request_id", sa.String(length=127), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("plan_id", sa.String(length=50), nullable=False),
        sa.Column("custom_id", sa.String(length=127), nullable=False),
        sa.Column("subscription_id", sa.String(length=127), nullable=True),
        sa.Column("approval_url", sa.Text(), nullable=True),
        sa.Column("issue", sa.String(length=100), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "(state = 'created') = (approval_url IS NOT NULL)", name="ck_paypal_subscription_requests_approval_url"
        ),
        sa.CheckConstraint("state IN ('created', 'refused', 'failed')", name="ck_paypal_subscription_requests_state"),
        sa.PrimaryKeyConstraint("request_id", name="pk_paypal_subscription_requests"),
    )
    op.create_table(
        "paypal_subscriptions",
        sa.Column("subscription_id", sa.String(length=127), nullable=False),
        sa.Column("custom_id", sa.String(length=127), nullable=True),
        sa.Column("plan_id", sa.String(length=127), nullable=True),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=True),
        sa.Column("status_at", UtcTime(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('APPROVAL_PENDING', 'APPROVED', 'ACTIVE', 'SUSPENDED', 'CANCELLED', 'EXPIRED')",
            name="ck_paypal_subscriptions_status",
        ),
        sa.PrimaryKeyConstraint("subscription_id", name="pk_paypal_subscriptions"),
    )
    op.create_index("ix_paypal_subscriptions_custom_id", "paypal_subscriptions", ["custom_id"], unique=False)
    op.create_index("ix_paypal_subscriptions_status", "paypal_subscriptions", ["status", "created_at"], unique=False)
