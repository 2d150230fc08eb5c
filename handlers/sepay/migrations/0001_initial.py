"""Wallets, payment intents, payments and bank transfers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import Json, UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "pay_payment_intents",
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=10), nullable=False),
        sa.Column("status", sa.String(length=30), nullable=False),
        sa.Column("order_code", sa.String(length=255), nullable=False),
        sa.Column("order_code_norm", sa.String(length=64), nullable=False),
        sa.Column("reference_code", sa.String(length=255), nullable=True),
        sa.Column("qr_code_url", sa.Text(), nullable=True),
        sa.Column("deep_link", sa.Text(), nullable=True),
        sa.Column("return_url", sa.Text(), nullable=True),
        sa.Column("cancel_url", sa.Text(), nullable=True),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "purpose IN ('wallet_topup', 'order_payment', 'symbol_purchase')", name="ck_pay_payment_intents_purpose"
        ),
        sa.CheckConstraint(
            "status IN ('requires_payment_method', 'processing', 'succeeded', 'failed', 'expired')",
            name="ck_pay_payment_intents_status",
        ),
        sa.CheckConstraint("amount > 0", name="ck_pay_payment_intents_amount"),
        sa.PrimaryKeyConstraint("intent_id", name="pk_pay_payment_intents"),
        sa.UniqueConstraint("order_code", name="uq_pay_payment_intents_order_code"),
        sa.UniqueConstraint("order_code_norm", name="uq_pay_payment_intents_order_code_norm"),
    )
    op.create_index("ix_pay_payment_intents_order_id", "pay_payment_intents", ["order_id"], unique=False)
    op.create_index(
        "ix_pay_payment_intents_status_expires_at", "pay_payment_intents", ["status", "expires_at"], unique=False
    )
    op.create_index(
        "ix_pay_payment_intents_user_id_created_at", "pay_payment_intents", ["user_id", "created_at"], unique=False
    )
    op.create_index("ix_pay_payment_intents_user_id_status", "pay_payment_intents", ["user_id", "status"], unique=False)
    op.create_table(
        "pay_wallets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("currency", sa.String(length=10), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint("currency IN ('VND', 'USD')", name="ck_pay_wallets_currency"),
        sa.CheckConstraint("status IN ('active', 'suspended')", name="ck_pay_wallets_status"),
        sa.PrimaryKeyConstraint("id", name="pk_pay_wallets"),
        sa.UniqueConstraint("user_id", "currency", name="uq_pay_wallets_user_id_currency"),
    )
    op.create_table(
        "pay_payment_attempts",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("intent_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.String(length=30), nullable=False),
        sa.Column("bank_code", sa.String(length=10), nullable=True),
        sa.Column("account_number", sa.String(length=50), nullable=True),
        sa.Column("account_name", sa.String(length=255), nullable=True),
        sa.Column("transfer_content", sa.Text(), nullable=True),
        sa.Column("transfer_amount", sa.BigInteger(), nullable=True),
        sa.Column("qr_image_url", sa.Text(), nullable=True),
        sa.Column("qr_svg", sa.Text(), nullable=True),
        sa.Column("expires_at", UtcTime(), nullable=True),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('requires_payment_method', 'processing', 'succeeded', 'failed', 'expired')",
            name="ck_pay_payment_attempts_status",
        ),
        sa.ForeignKeyConstraint(
            ["intent_id"], ["pay_payment_intents.intent_id"], name="fk_pay_payment_attempts_intent_id"
        ),
        sa.PrimaryKeyConstraint("attempt_id", name="pk_pay_payment_attempts"),
    )
    op.create_index("ix_pay_payment_attempts_intent_id", "pay_payment_attempts", ["intent_id"], unique=False)
    op.create_index(
        "ix_pay_payment_attempts_open",
        "pay_payment_attempts",
        ["intent_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('requires_payment_method', 'processing')"),
        sqlite_where=sa.text("status IN ('requires_payment_method', 'processing')"),
    )
    op.create_table(
        "pay_payments",
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("intent_id", sa.Uuid(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=30), nullable=False),
        sa.Column("provider_payment_id", sa.String(length=255), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('requires_payment_method', 'processing', 'succeeded', 'failed', 'expired')",
            name="ck_pay_payments_status",
        ),
        sa.CheckConstraint("amount > 0", name="ck_pay_payments_amount"),
        sa.ForeignKeyConstraint(["intent_id"], ["pay_payment_intents.intent_id"], name="fk_pay_payments_intent_id"),
        sa.PrimaryKeyConstraint("payment_id", name="pk_pay_payments"),
        sa.UniqueConstraint("provider_payment_id", name="uq_pay_payments_provider_payment_id"),
    )
    op.create_index("ix_pay_payments_intent_id", "pay_payments", ["intent_id"], unique=False)
    op.create_index("ix_pay_payments_order_id", "pay_payments", ["order_id"], unique=False)
    op.create_index("ix_pay_payments_user_id_created_at", "pay_payments", ["user_id", "created_at"], unique=False)
    op.create_table(
        "pay_bank_transactions",
        sa.Column("sepay_tx_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("provider_uuid", sa.String(length=36), nullable=True),
        sa.Column("transaction_date", UtcTime(), nullable=False),
        sa.Column("account_number", sa.String(length=50), nullable=False),
        sa.Column("sub_account", sa.String(length=50), nullable=True),
        sa.Column("amount_in", sa.BigInteger(), nullable=False),
        sa.Column("amount_out", sa.BigInteger(), nullable=False),
        sa.Column("accumulated", sa.BigInteger(), nullable=True),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("payment_code", sa.String(length=64), nullable=True),
        sa.Column("reference_number", sa.String(length=100), nullable=True),
        sa.Column("gateway", sa.String(length=100), nullable=False),
        sa.Column("bank_code", sa.String(length=10), nullable=True),
        sa.Column("intent_id", sa.Uuid(), nullable=True),
        sa.Column("attempt_id", sa.Uuid(), nullable=True),
        sa.Column("payment_id", sa.Uuid(), nullable=True),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("process_error", sa.Text(), nullable=True),
        sa.Column("in_suspense", sa.Boolean(), nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.CheckConstraint(
            "source IN ('webhook', 'reconcile', 'callback', 'manual')", name="ck_pay_bank_transactions_source"
        ),
        sa.CheckConstraint(
            "amount_in >= 0 AND amount_out >= 0 AND (amount_in = 0) <> (amount_out = 0)",
            name="ck_pay_bank_transactions_amounts",
        ),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["pay_payment_attempts.attempt_id"], name="fk_pay_bank_transactions_attempt_id"
        ),
        sa.ForeignKeyConstraint(
            ["intent_id"], ["pay_payment_intents.intent_id"], name="fk_pay_bank_transactions_intent_id"
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"], ["pay_payments.payment_id"], name="fk_pay_bank_transactions_payment_id"
        ),
        sa.PrimaryKeyConstraint("sepay_tx_id", name="pk_pay_bank_transactions"),
    )
    op.create_index(
        "ix_pay_bank_transactions_account_number", "pay_bank_transactions", ["account_number"], unique=False
    )
    op.create_index(
        "ix_pay_bank_transactions_in_suspense",
        "pay_bank_transactions",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("in_suspense"),
        sqlite_where=sa.text("in_suspense"),
    )
    op.create_index("ix_pay_bank_transactions_intent_id", "pay_bank_transactions", ["intent_id"], unique=False)
    op.create_index(
        "ix_pay_bank_transactions_reference_number", "pay_bank_transactions", ["reference_number"], unique=False
    )
