"""Find events by their trace, and by the event that caused them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    trace_id = sa.text("substr(traceparent, 4, 32)")
    for table in ("inbox", "timers"):
        op.add_column(table, sa.Column("cause", sa.Uuid()))
        op.create_index(f"ix_{table}_trace", table, [trace_id])
    is_caused = sa.text("cause IS NOT NULL")
    op.create_index("ix_inbox_cause", "inbox", ["cause"], postgresql_where=is_caused, sqlite_where=is_caused)
