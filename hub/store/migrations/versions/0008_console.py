"""People sign in at the console; what they do there stays on record; events are found by their key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.append_only import append_only_statements
from hub.store.types import Json, UtcTime

revision = "0008"
down_revision = "0007"

_ROLES = "role IN ('viewer', 'operator', 'admin')"


def upgrade() -> None:
    _people()
    op.create_table(
        "checks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("holds", sa.Boolean(), nullable=False),
        sa.Column("report", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_checks"),
        comment="Results of the proof that all is accounted for and that the books add up",
    )
    op.create_index("ix_checks_at", "checks", ["at"])
    has_key = sa.text("key IS NOT NULL")
    op.create_index("ix_inbox_key", "inbox", ["key", "seq"], postgresql_where=has_key, sqlite_where=has_key)
    op.create_index("ix_operations_at", "operations", ["at", "id"])
    if op.get_context().dialect.name == "postgresql":
        op.create_table_comment(
            "operations", "What people did: retry, discard, edit, resolve; rows are only ever added"
        )
    for statement in append_only_statements(op.get_context().dialect.name, "operations"):
        op.execute(statement)


def _people() -> None:
    op.create_table(
        "console_users",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("changed_at", UtcTime(), nullable=False),
        sa.CheckConstraint(_ROLES, name="ck_console_users_role"),
        sa.PrimaryKeyConstraint("name", name="pk_console_users"),
        comment="Who may sign in at the console; password_hash is Argon2id",
    )
    op.create_table(
        "console_sessions",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("credential", sa.LargeBinary(length=32), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("seen_at", UtcTime(), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=False),
        sa.CheckConstraint(_ROLES, name="ck_console_sessions_role"),
        sa.PrimaryKeyConstraint("token_hash", name="pk_console_sessions"),
        comment="Who is signed in; a deleted row is a session that is over; credential = hash of the proof",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_console_sessions_name", "console_sessions", ["name"])
    op.create_index("ix_console_sessions_expires_at", "console_sessions", ["expires_at"])
    op.create_table(
        "console_failures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("name_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_console_failures"),
        comment="Sign-ins that failed a short time ago, which slow down the next ones",
    )
    op.create_index("ix_console_failures_at", "console_failures", ["at"])
