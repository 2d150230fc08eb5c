"""When PayPal was last asked about a payment that it has not decided."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("paypal_payments", sa.Column("asked_at", UtcTime(), nullable=True))
