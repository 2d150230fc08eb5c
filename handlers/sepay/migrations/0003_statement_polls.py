"""How far the bank statement has been read, and finding a transfer by what banks say of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "pay_statement_polls",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("covered_until", UtcTime(), nullable=False),
        sa.Column("polled_at", UtcTime(), nullable=False),
        sa.Column("rows_read", sa.BigInteger(), nullable=False),
        sa.Column("healed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pay_statement_polls")),
    )
    op.create_index("ix_pay_bank_transactions_transaction_date", "pay_bank_transactions", ["transaction_date"])
