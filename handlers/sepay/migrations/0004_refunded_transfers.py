"""A transfer that was sent back counts as processed: the views are made anew."""

from __future__ import annotations

from alembic import op

from handlers.sepay.table_views import VIEWS, create_statements

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    conn = op.get_bind()
    for name in reversed(VIEWS):
        conn.exec_driver_sql(f"DROP VIEW {name}")
    for statement in create_statements(conn.dialect.name):
        conn.exec_driver_sql(statement)
