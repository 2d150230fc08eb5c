"""Orders, licences and renewals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from handlers.sepay.table_views import create_statements
from hub.store.types import Json, UtcTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "pay_symbols",
        sa.Column("symbol_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("license_days", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint("license_days >= 0", name="ck_pay_symbols_license_days"),
        sa.CheckConstraint("price > 0", name="ck_pay_symbols_price"),
        sa.CheckConstraint("symbol_id > 0", name="ck_pay_symbols_symbol_id"),
        sa.PrimaryKeyConstraint("symbol_id", "license_days", name="pk_pay_symbols"),
    )
    op.create_table(
        "pay_symbol_orders",
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("total_amount", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("payment_method", sa.String(length=20), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("payment_intent_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "payment_method IN ('wallet', 'sepay_transfer')", name="ck_pay_symbol_orders_payment_method"
        ),
        sa.CheckConstraint(
            "status IN ('pending_payment', 'paid', 'failed', 'cancelled', 'refunded')",
            name="ck_pay_symbol_orders_status",
        ),
        sa.CheckConstraint("total_amount > 0", name="ck_pay_symbol_orders_total_amount"),
        sa.ForeignKeyConstraint(
            ["payment_intent_id"], ["pay_payment_intents.intent_id"], name="fk_pay_symbol_orders_payment_intent_id"
        ),
        sa.PrimaryKeyConstraint("order_id", name="pk_pay_symbol_orders"),
    )
    op.create_index("ix_pay_symbol_orders_created_at", "pay_symbol_orders", ["created_at"], unique=False)
    op.create_index(
        "ix_pay_symbol_orders_user_id_created_at", "pay_symbol_orders", ["user_id", "created_at"], unique=False
    )
    op.create_index("ix_pay_symbol_orders_user_id_status", "pay_symbol_orders", ["user_id", "status"], unique=False)
    op.create_table(
        "pay_symbol_order_items",
        sa.Column("order_item_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("symbol_id", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("license_days", sa.Integer(), nullable=True),
        sa.Column("auto_renew", sa.Boolean(), nullable=False),
        sa.Column("auto_renew_price", sa.BigInteger(), nullable=True),
        sa.Column("cycle_days_override", sa.Integer(), nullable=True),
        sa.Column("metadata", Json, nullable=False),
        sa.CheckConstraint("auto_renew_price > 0", name="ck_pay_symbol_order_items_auto_renew_price"),
        sa.CheckConstraint("cycle_days_override > 0", name="ck_pay_symbol_order_items_cycle_days_override"),
        sa.CheckConstraint("license_days > 0", name="ck_pay_symbol_order_items_license_days"),
        sa.CheckConstraint("position >= 1", name="ck_pay_symbol_order_items_position"),
        sa.CheckConstraint("price > 0", name="ck_pay_symbol_order_items_price"),
        sa.ForeignKeyConstraint(
            ["order_id"], ["pay_symbol_orders.order_id"], name="fk_pay_symbol_order_items_order_id"
        ),
        sa.PrimaryKeyConstraint("order_item_id", name="pk_pay_symbol_order_items"),
    )
    op.create_index("ix_pay_symbol_order_items_order_id", "pay_symbol_order_items", ["order_id"], unique=False)
    op.create_table(
        "symbol_autorenew_subscriptions",
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("symbol_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("cycle_days", sa.Integer(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("payment_method", sa.String(length=30), nullable=False),
        sa.Column("last_order_id", sa.Uuid(), nullable=True),
        sa.Column("current_license_id", sa.Uuid(), nullable=True),
        sa.Column("next_billing_at", UtcTime(), nullable=True),
        sa.Column("last_attempt_at", UtcTime(), nullable=True),
        sa.Column("last_success_at", UtcTime(), nullable=True),
        sa.Column("consecutive_failures", sa.SmallInteger(), nullable=False),
        sa.Column("grace_period_hours", sa.Integer(), nullable=False),
        sa.Column("retry_interval_minutes", sa.Integer(), nullable=False),
        sa.Column("max_retry_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("metadata", Json, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending_activation', 'active', 'paused', 'suspended', 'cancelled', 'completed')",
            name="ck_symbol_autorenew_subscriptions_status",
        ),
        sa.CheckConstraint("consecutive_failures >= 0", name="ck_symbol_autorenew_subscriptions_consecutive_failures"),
        sa.CheckConstraint("cycle_days > 0", name="ck_symbol_autorenew_subscriptions_cycle_days"),
        sa.CheckConstraint("price > 0", name="ck_symbol_autorenew_subscriptions_price"),
        sa.ForeignKeyConstraint(
            ["last_order_id"], ["pay_symbol_orders.order_id"], name="fk_symbol_autorenew_subscriptions_last_order_id"
        ),
        sa.PrimaryKeyConstraint("subscription_id", name="pk_symbol_autorenew_subscriptions"),
    )
    op.create_index(
        "ix_symbol_autorenew_subscriptions_due",
        "symbol_autorenew_subscriptions",
        ["next_billing_at"],
        unique=False,
        postgresql_where=sa.text("status = 'active'"),
        sqlite_where=sa.text("status = 'active'"),
    )
    op.create_index(
        "ix_symbol_autorenew_subscriptions_user_id_created_at",
        "symbol_autorenew_subscriptions",
        ["user_id", "created_at"],
        unique=False,
    )
    op.create_index(
        "uq_symbol_autorenew_subscriptions_live",
        "symbol_autorenew_subscriptions",
        ["user_id", "symbol_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('pending_activation', 'active', 'paused')"),
        sqlite_where=sa.text("status IN ('pending_activation', 'active', 'paused')"),
    )
    op.create_table(
        "pay_user_symbol_licenses",
        sa.Column("license_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("symbol_id", sa.BigInteger(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("subscription_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("start_at", UtcTime(), nullable=False),
        sa.Column("end_at", UtcTime(), nullable=True),
        sa.Column("reminded_end_at", UtcTime(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "status IN ('active', 'expired', 'suspended', 'revoked')", name="ck_pay_user_symbol_licenses_status"
        ),
        sa.CheckConstraint("end_at > start_at", name="ck_pay_user_symbol_licenses_end_at"),
        sa.ForeignKeyConstraint(
            ["order_id"], ["pay_symbol_orders.order_id"], name="fk_pay_user_symbol_licenses_order_id"
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["symbol_autorenew_subscriptions.subscription_id"],
            name="fk_pay_user_symbol_licenses_subscription_id",
        ),
        sa.PrimaryKeyConstraint("license_id", name="pk_pay_user_symbol_licenses"),
    )
    op.create_index(
        "ix_pay_user_symbol_licenses_status_end_at", "pay_user_symbol_licenses", ["status", "end_at"], unique=False
    )
    op.create_index(
        "ix_pay_user_symbol_licenses_user_id_created_at",
        "pay_user_symbol_licenses",
        ["user_id", "created_at"],
        unique=False,
    )
    op.create_index(
        "uq_pay_user_symbol_licenses_active",
        "pay_user_symbol_licenses",
        ["user_id", "symbol_id"],
        unique=True,
        postgresql_where=sa.text("status = 'active'"),
        sqlite_where=sa.text("status = 'active'"),
    )
    op.create_table(
        "symbol_autorenew_attempts",
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("order_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("fail_reason", sa.Text(), nullable=True),
        sa.Column("charged_amount", sa.BigInteger(), nullable=True),
        sa.Column("wallet_balance_snapshot", sa.BigInteger(), nullable=True),
        sa.Column("ran_at", UtcTime(), nullable=False),
        sa.CheckConstraint("status IN ('success', 'failed', 'skipped')", name="ck_symbol_autorenew_attempts_status"),
        sa.ForeignKeyConstraint(
            ["order_id"], ["pay_symbol_orders.order_id"], name="fk_symbol_autorenew_attempts_order_id"
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["symbol_autorenew_subscriptions.subscription_id"],
            name="fk_symbol_autorenew_attempts_subscription_id",
        ),
        sa.PrimaryKeyConstraint("attempt_id", name="pk_symbol_autorenew_attempts"),
    )
    op.create_index(
        "ix_symbol_autorenew_attempts_subscription_id_ran_at",
        "symbol_autorenew_attempts",
        ["subscription_id", "ran_at"],
        unique=False,
    )
    conn = op.get_bind()
    for statement in create_statements(conn.dialect.name):
        conn.exec_driver_sql(statement)
