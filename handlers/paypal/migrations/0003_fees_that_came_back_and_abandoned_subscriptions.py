"""What came back of a payment's fee, and subscriptions whose buyers never approved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("paypal_payments", sa.Column("fee_refunded_minor", sa.BigInteger(), nullable=True))
    op.add_column("paypal_subscriptions", sa.Column("abandoned_at", UtcTime(), nullable=True))
