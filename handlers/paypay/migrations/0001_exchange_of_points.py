"""Sessions, exchanges of points, reversals, and members whose points the hub keeps."""

# ruff: noqa: E501 - a list of tables, as it was drafted
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "paypay_member_bookings",
        sa.Column("booking_id", sa.String(length=64), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("booked_at", UtcTime(), nullable=False),
        sa.Column("cancelled_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("booking_id", name="pk_paypay_member_bookings"),
    )
    op.create_index(
        "ix_paypay_member_bookings_member_id_booked_at",
        "paypay_member_bookings",
        ["member_id", "booked_at"],
        unique=False,
    )
    op.create_table(
        "paypay_point_lots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.CheckConstraint("source IN ('purchase', 'promotion')", name="ck_paypay_point_lots_source"),
        sa.PrimaryKeyConstraint("id", name="pk_paypay_point_lots"),
        sa.UniqueConstraint("member_id", "source", "last_day", name="uq_paypay_point_lots_member_id_source_last_day"),
    )
    op.create_table(
        "paypay_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("device_type", sa.String(length=10), nullable=False),
        sa.Column("nonce", sa.String(length=64), nullable=False),
        sa.Column("reference_id", sa.String(length=255), nullable=False),
        sa.Column("scopes", sa.String(length=255), nullable=False),
        sa.Column("redirect_url", sa.Text(), nullable=False),
        sa.Column("link_url", sa.Text(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("user_authorization_id", sa.String(length=64), nullable=True),
        sa.Column("profile_identifier", sa.String(length=255), nullable=True),
        sa.Column("token_hash", sa.String(length=64), nullable=True),
        sa.Column("authorization_expires_at", UtcTime(), nullable=True),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("hinted_at", UtcTime(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint("device_type IN ('PC', 'SP', 'APP')", name="ck_paypay_sessions_device_type"),
        sa.CheckConstraint(
            "status IN ('CREATED', 'LINKED', 'DECLINED', 'FAILED', 'EXPIRED', 'REVOKED')",
            name="ck_paypay_sessions_status",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_paypay_sessions"),
        sa.UniqueConstraint("nonce", name="uq_paypay_sessions_nonce"),
    )
    op.create_index("ix_paypay_sessions_hinted_at", "paypay_sessions", ["hinted_at"], unique=False)
    op.create_index(
        "ix_paypay_sessions_member_id_created_at", "paypay_sessions", ["member_id", "created_at"], unique=False
    )
    op.create_index(
        "ix_paypay_sessions_user_authorization_id", "paypay_sessions", ["user_authorization_id"], unique=False
    )
    op.create_table(
        "paypay_cashback_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("merchant_cashback_id", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=False),
        sa.Column("user_authorization_id", sa.String(length=64), nullable=False),
        sa.Column("device_type", sa.String(length=10), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("points_from_purchase", sa.BigInteger(), nullable=False),
        sa.Column("points_from_promotion", sa.BigInteger(), nullable=False),
        sa.Column("amount_jpy", sa.BigInteger(), nullable=False),
        sa.Column("wallet_type", sa.String(length=20), nullable=False),
        sa.Column("order_description", sa.String(length=255), nullable=True),
        sa.Column("cashback_id", sa.String(length=255), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("paypay_status", sa.String(length=255), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("result_code", sa.String(length=255), nullable=True),
        sa.Column("result_code_id", sa.String(length=255), nullable=True),
        sa.Column("paypay_request_id", sa.String(length=255), nullable=True),
        sa.Column("requested_at", UtcTime(), nullable=False),
        sa.Column("sent_at", UtcTime(), nullable=True),
        sa.Column("accepted_at", UtcTime(), nullable=True),
        sa.Column("succeeded_at", UtcTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("check_count", sa.Integer(), nullable=False),
        sa.Column("absent_count", sa.Integer(), nullable=False),
        sa.Column("next_check_at", UtcTime(), nullable=True),
        sa.Column("hinted_at", UtcTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("review_event_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "(status = 'SUCCESS') = (succeeded_at IS NOT NULL)", name="ck_paypay_cashback_request_succeeded_at"
        ),
        sa.CheckConstraint("device_type IN ('PC', 'SP', 'APP')", name="ck_paypay_cashback_request_device_type"),
        sa.CheckConstraint(
            "status IN ('NEW', 'ACCEPTED', 'UNKNOWN', 'MANUAL', 'SUCCESS', 'FAILED', 'REJECTED')",
            name="ck_paypay_cashback_request_status",
        ),
        sa.CheckConstraint("amount_jpy > 0", name="ck_paypay_cashback_request_amount_jpy"),
        sa.CheckConstraint("points > 0", name="ck_paypay_cashback_request_points"),
        sa.CheckConstraint(
            "points_from_purchase >= 0 AND points_from_promotion >= 0 AND points_from_purchase + points_from_promotion = points",
            name="ck_paypay_cashback_request_points_split",
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["paypay_cashback_request.id"], name="fk_paypay_cashback_request_parent_id"
        ),
        sa.ForeignKeyConstraint(["session_id"], ["paypay_sessions.id"], name="fk_paypay_cashback_request_session_id"),
        sa.PrimaryKeyConstraint("id", name="pk_paypay_cashback_request"),
        sa.UniqueConstraint(
            "member_id", "idempotency_key", name="uq_paypay_cashback_request_member_id_idempotency_key"
        ),
        sa.UniqueConstraint("merchant_cashback_id", name="uq_paypay_cashback_request_merchant_cashback_id"),
    )
    op.create_index("ix_paypay_cashback_request_hinted_at", "paypay_cashback_request", ["hinted_at"], unique=False)
    op.create_index(
        "ix_paypay_cashback_request_member_id_created_at",
        "paypay_cashback_request",
        ["member_id", "created_at"],
        unique=False,
    )
    op.create_index("ix_paypay_cashback_request_parent_id", "paypay_cashback_request", ["parent_id"], unique=True)
    op.create_index(
        "ix_paypay_cashback_request_status_next_check_at",
        "paypay_cashback_request",
        ["status", "next_check_at"],
        unique=False,
    )
    op.create_index(
        "ix_paypay_cashback_request_succeeded_at", "paypay_cashback_request", ["succeeded_at"], unique=False
    )
    op.create_table(
        "paypay_held_lots",
        sa.Column("cashback_request_id", sa.Uuid(), nullable=False),
        sa.Column("lot_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("points", sa.BigInteger(), nullable=False),
        sa.Column("returned_points", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("points > 0", name="ck_paypay_held_lots_points"),
        sa.CheckConstraint(
            "returned_points >= 0 AND returned_points <= points", name="ck_paypay_held_lots_returned_points"
        ),
        sa.ForeignKeyConstraint(
            ["cashback_request_id"], ["paypay_cashback_request.id"], name="fk_paypay_held_lots_cashback_request_id"
        ),
        sa.ForeignKeyConstraint(["lot_id"], ["paypay_point_lots.id"], name="fk_paypay_held_lots_lot_id"),
        sa.PrimaryKeyConstraint("cashback_request_id", "lot_id", name="pk_paypay_held_lots"),
    )
    op.create_table(
        "paypay_reverse_cashback_request",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("merchant_cashback_reversal_id", sa.String(length=64), nullable=False),
        sa.Column("cashback_request_id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("requested_amount_jpy", sa.BigInteger(), nullable=False),
        sa.Column("reversed_amount_jpy", sa.BigInteger(), nullable=False),
        sa.Column("returned_points", sa.BigInteger(), nullable=False),
        sa.Column("points_to_purchase", sa.BigInteger(), nullable=False),
        sa.Column("points_to_promotion", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=False),
        sa.Column("operator", sa.String(length=255), nullable=False),
        sa.Column("cashback_reversal_id", sa.String(length=255), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("paypay_status", sa.String(length=255), nullable=True),
        sa.Column("http_status", sa.Integer(), nullable=True),
        sa.Column("result_code", sa.String(length=255), nullable=True),
        sa.Column("result_code_id", sa.String(length=255), nullable=True),
        sa.Column("paypay_request_id", sa.String(length=255), nullable=True),
        sa.Column("requested_at", UtcTime(), nullable=False),
        sa.Column("sent_at", UtcTime(), nullable=True),
        sa.Column("accepted_at", UtcTime(), nullable=True),
        sa.Column("succeeded_at", UtcTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("check_count", sa.Integer(), nullable=False),
        sa.Column("absent_count", sa.Integer(), nullable=False),
        sa.Column("next_check_at", UtcTime(), nullable=True),
        sa.Column("hinted_at", UtcTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("review_event_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.CheckConstraint(
            "(status = 'SUCCESS') = (succeeded_at IS NOT NULL)", name="ck_paypay_reverse_cashback_request_succeeded_at"
        ),
        sa.CheckConstraint(
            "status IN ('NEW', 'ACCEPTED', 'UNKNOWN', 'MANUAL', 'SUCCESS', 'FAILED', 'REJECTED')",
            name="ck_paypay_reverse_cashback_request_status",
        ),
        sa.CheckConstraint(
            "points_to_purchase >= 0 AND points_to_promotion >= 0 AND points_to_purchase + points_to_promotion = returned_points",
            name="ck_paypay_reverse_cashback_request_points_split",
        ),
        sa.CheckConstraint("requested_amount_jpy > 0", name="ck_paypay_reverse_cashback_request_requested_amount_jpy"),
        sa.CheckConstraint(
            "reversed_amount_jpy >= 0 AND reversed_amount_jpy <= requested_amount_jpy",
            name="ck_paypay_reverse_cashback_request_reversed_amount_jpy",
        ),
        sa.ForeignKeyConstraint(
            ["cashback_request_id"],
            ["paypay_cashback_request.id"],
            name="fk_paypay_reverse_cashback_request_cashback_request_id",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_paypay_reverse_cashback_request"),
        sa.UniqueConstraint("cashback_request_id", "idempotency_key", name="uq_paypay_reverse_cashback_request_key"),
        sa.UniqueConstraint("merchant_cashback_reversal_id", name="uq_paypay_reverse_cashback_request_merchant_id"),
    )
    op.create_index(
        "ix_paypay_reverse_cashback_request_hinted_at", "paypay_reverse_cashback_request", ["hinted_at"], unique=False
    )
    op.create_index(
        "ix_paypay_reverse_cashback_request_status_next_check_at",
        "paypay_reverse_cashback_request",
        ["status", "next_check_at"],
        unique=False,
    )
    op.create_index(
        "ix_paypay_reverse_cashback_request_succeeded_at",
        "paypay_reverse_cashback_request",
        ["succeeded_at"],
        unique=False,
    )
