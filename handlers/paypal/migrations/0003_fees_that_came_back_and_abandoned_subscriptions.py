"""What came back of a payment's fee, abandoned subscriptions, several accounts, and failures that were told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("paypal_payments", sa.Column("fee_refunded_minor", sa.BigInteger(), nullable=True))
    op.add_column("paypal_subscriptions", sa.Column("abandoned_at", UtcTime(), nullable=True))
    op.add_column("paypal_payments", sa.Column("account", sa.String(length=50), nullable=True))
    op.add_column("paypal_subscriptions", sa.Column("account", sa.String(length=50), nullable=True))
    op.add_column("paypal_subscriptions", sa.Column("country", sa.String(length=2), nullable=True))
    op.create_table(
        "paypal_told_failures",
        sa.Column("delivery_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("told_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_paypal_told_failures"),
    )
