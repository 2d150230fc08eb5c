"""Codes, payments, and their captures, reverts and refunds."""

# ruff: noqa: E501 - a list of tables, as it was drafted
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import Json, UtcTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "paypay_payments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("merchant_payment_id", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=True),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("user_authorization_id", sa.String(length=64), nullable=True),
        sa.Column("amount_jpy", sa.BigInteger(), nullable=False),
        sa.Column("captured_jpy", sa.BigInteger(), nullable=True),
        sa.Column("refunded_jpy", sa.BigInteger(), nullable=False),
        sa.Column("is_authorization", sa.Boolean(), nullable=False),
        sa.Column("order_description", sa.String(length=255), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("paypay_payment_id", sa.String(length=255), nullable=True),
        sa.Column("paypay_status", sa.String(length=255), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("result_code", sa.String(length=255), nullable=True),
        sa.Column("result_code_id", sa.String(length=255), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("requested_at", UtcTime(), nullable=False),
        sa.Column("poll_until", UtcTime(), nullable=False),
        sa.Column("authorized_at", UtcTime(), nullable=True),
        sa.Column("expires_at", UtcTime(), nullable=True),
        sa.Column("paid_at", UtcTime(), nullable=True),
        sa.Column("completed_at", UtcTime(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("is_unwanted", sa.Boolean(), nullable=False),
        sa.Column("reads", sa.Integer(), nullable=False),
        sa.Column("absent_reads", sa.Integer(), nullable=False),
        sa.Column("reads_since", UtcTime(), nullable=True),
        sa.Column("cancels", sa.Integer(), nullable=False),
        sa.Column("next_look_at", UtcTime(), nullable=True),
        sa.Column("hinted_at", UtcTime(), nullable=True),
        sa.Column("review_event_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'direct') = (user_authorization_id IS NOT NULL)", name="ck_paypay_payments_user_authorization_id"
        ),
        sa.CheckConstraint("kind IN ('code', 'direct')", name="ck_paypay_payments_kind"),
        sa.CheckConstraint(
            "status IN ('NEW', 'UNKNOWN', 'CREATED', 'AUTHORIZED', 'COMPLETED', 'CANCELING', 'CANCEL_ACCEPTED', 'REFUND_NEEDED', 'REFUND_ACCEPTED', 'REFUND_UNKNOWN', 'MANUAL', 'REFUNDED', 'CANCELED', 'CANCELLED_BY_US', 'EXPIRED', 'FAILED', 'REJECTED')",
            name="ck_paypay_payments_status",
        ),
        sa.CheckConstraint("amount_jpy > 0", name="ck_paypay_payments_amount_jpy"),
        sa.CheckConstraint("captured_jpy IS NULL OR captured_jpy > 0", name="ck_paypay_payments_captured_jpy"),
        sa.CheckConstraint(
            "refunded_jpy >= 0 AND refunded_jpy <= COALESCE(captured_jpy, 0)", name="ck_paypay_payments_refunded_jpy"
        ),
        sa.ForeignKeyConstraint(["session_id"], ["paypay_sessions.id"], name="fk_paypay_payments_session_id"),
        sa.PrimaryKeyConstraint("id", name="pk_paypay_payments"),
        sa.UniqueConstraint("idempotency_key", name="uq_paypay_payments_idempotency_key"),
        sa.UniqueConstraint("merchant_payment_id", name="uq_paypay_payments_merchant_payment_id"),
    )
    op.create_index("ix_paypay_payments_hinted_at", "paypay_payments", ["hinted_at"], unique=False)
    op.create_index(
        "ix_paypay_payments_member_id_created_at", "paypay_payments", ["member_id", "created_at"], unique=False
    )
    op.create_index("ix_paypay_payments_status_updated_at", "paypay_payments", ["status", "updated_at"], unique=False)
    op.create_table(
        "paypay_captures",
        sa.Column("merchant_capture_id", sa.String(length=64), nullable=False),
        sa.Column("amount_jpy", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("result_code", sa.String(length=255), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("requested_at", UtcTime(), nullable=False),
        sa.Column("done_at", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "status IN ('NEW', 'DONE', 'PENDING', 'UNKNOWN', 'REFUSED')", name="ck_paypay_captures_status"
        ),
        sa.CheckConstraint("amount_jpy > 0", name="ck_paypay_captures_amount_jpy"),
        sa.ForeignKeyConstraint(["payment_id"], ["paypay_payments.id"], name="fk_paypay_captures_payment_id"),
        sa.PrimaryKeyConstraint("id", name="pk_paypay_captures"),
        sa.UniqueConstraint("merchant_capture_id", name="uq_paypay_captures_merchant_capture_id"),
        sa.UniqueConstraint("payment_id", "idempotency_key", name="uq_paypay_captures_payment_id_idempotency_key"),
    )
    op.create_table(
        "paypay_codes",
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("wanted", Json, nullable=False),
        sa.Column("code_id", sa.String(length=255), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("deeplink", sa.Text(), nullable=True),
        sa.Column("expires_at", UtcTime(), nullable=True),
        sa.Column("deleted_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["payment_id"], ["paypay_payments.id"], name="fk_paypay_codes_payment_id"),
        sa.PrimaryKeyConstraint("payment_id", name="pk_paypay_codes"),
    )
    op.create_table(
        "paypay_refunds",
        sa.Column("merchant_refund_id", sa.String(length=64), nullable=False),
        sa.Column("amount_jpy", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("result_code", sa.String(length=255), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("requested_at", UtcTime(), nullable=False),
        sa.Column("done_at", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "status IN ('NEW', 'DONE', 'PENDING', 'UNKNOWN', 'REFUSED')", name="ck_paypay_refunds_status"
        ),
        sa.CheckConstraint("amount_jpy > 0", name="ck_paypay_refunds_amount_jpy"),
        sa.ForeignKeyConstraint(["payment_id"], ["paypay_payments.id"], name="fk_paypay_refunds_payment_id"),
        sa.PrimaryKeyConstraint("id", name="pk_paypay_refunds"),
        sa.UniqueConstraint("merchant_refund_id", name="uq_paypay_refunds_merchant_refund_id"),
        sa.UniqueConstraint("payment_id", "idempotency_key", name="uq_paypay_refunds_payment_id_idempotency_key"),
    )
    op.create_table(
        "paypay_reverts",
        sa.Column("merchant_revert_id", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("result_code", sa.String(length=255), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("requested_at", UtcTime(), nullable=False),
        sa.Column("done_at", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "status IN ('NEW', 'DONE', 'PENDING', 'UNKNOWN', 'REFUSED')", name="ck_paypay_reverts_status"
        ),
        sa.ForeignKeyConstraint(["payment_id"], ["paypay_payments.id"], name="fk_paypay_reverts_payment_id"),
        sa.PrimaryKeyConstraint("id", name="pk_paypay_reverts"),
        sa.UniqueConstraint("merchant_revert_id", name="uq_paypay_reverts_merchant_revert_id"),
        sa.UniqueConstraint("payment_id", "idempotency_key", name="uq_paypay_reverts_payment_id_idempotency_key"),
    )
