"""An index for what each gift asks: whether PayPay has said of late that our wallet there is empty."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
compatible_since = "0005"

EMPTY = "status = 'FAILED' AND result_code = 'NOT_ENOUGH_MONEY'"


def upgrade() -> None:
    op.create_index(
        "ix_paypay_cashback_request_wallet_was_empty",
        "paypay_cashback_request",
        ["updated_at"],
        unique=False,
        postgresql_where=sa.text(EMPTY),
        sqlite_where=sa.text(EMPTY),
    )
