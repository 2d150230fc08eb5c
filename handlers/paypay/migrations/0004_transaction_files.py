"""What is remembered of PayPay's transaction files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import Json, UtcTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "paypay_transaction_file_logs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("notification_id", sa.String(length=255), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("file_type", sa.String(length=255), nullable=False),
        sa.Column("file_name", sa.String(length=255), nullable=False),
        sa.Column("merchant_id", sa.String(length=255), nullable=False),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("url_host", sa.String(length=255), nullable=False),
        sa.Column("url_hash", sa.String(length=64), nullable=False),
        sa.Column("requested_at", UtcTime(), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("storage_key", sa.String(length=1024), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("row_count", sa.Integer(), nullable=True),
        sa.Column("found", Json, nullable=True),
        sa.Column("break_count", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("review_event_id", sa.Uuid(), nullable=True),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("stored_at", UtcTime(), nullable=True),
        sa.Column("parsed_at", UtcTime(), nullable=True),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.Column("updated_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paypay_transaction_file_logs")),
        sa.UniqueConstraint("notification_id", name=op.f("uq_paypay_transaction_file_logs_notification_id")),
        sa.CheckConstraint(
            "status IN ('RECEIVED', 'STORED', 'PARSED', 'FAILED', 'EXPIRED')",
            name=op.f("ck_paypay_transaction_file_logs_status"),
        ),
        sa.CheckConstraint(
            "(storage_key IS NULL) = (sha256 IS NULL)", name=op.f("ck_paypay_transaction_file_logs_storage_key")
        ),
        sa.CheckConstraint(
            "status NOT IN ('STORED', 'PARSED') OR storage_key IS NOT NULL",
            name=op.f("ck_paypay_transaction_file_logs_stored"),
        ),
    )
    for column in ("received_at", "day"):
        op.create_index(
            op.f(f"ix_paypay_transaction_file_logs_{column}"), "paypay_transaction_file_logs", [column], unique=False
        )
