"""Payments whose money PayPal keeps back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "paypal_holds",
        sa.Column("payment_id", sa.String(length=127), nullable=False),
        sa.Column("held_at", UtcTime(), nullable=False),
        sa.Column("released_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("payment_id", name="pk_paypal_holds"),
    )
