"""Find the sessions that nobody decided, and ask on about what a person has settled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = ("paypay_cashback_request", "paypay_reverse_cashback_request")
COLUMNS = ("status", "paypay_status", "next_check_at", "updated_at")


def upgrade() -> None:
    op.create_index("ix_paypay_sessions_status_expires_at", "paypay_sessions", ["status", "expires_at"])
    for name in TABLES:
        table = sa.table(name, *(sa.column(column) for column in COLUMNS))
        said = sa.func.coalesce(table.c.paypay_status, "")
        # New ones are swept from now on, and so is what a person has ended and PayPay itself has not.
        is_looked_at = sa.or_(
            table.c.status == "NEW",
            sa.and_(table.c.status == "FAILED", said != "FAILURE"),
            sa.and_(table.c.status == "SUCCESS", said != "SUCCESS"),
        )
        op.execute(table.update().where(is_looked_at).values(next_check_at=table.c.updated_at))
