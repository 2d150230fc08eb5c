"""Routes, destinations and providers can stand still for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("cause", sa.String(length=10), nullable=False),
        sa.Column("paused_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("until", UtcTime(), nullable=True),
        sa.CheckConstraint("kind IN ('route', 'destination', 'provider')", name="ck_pauses_kind"),
        sa.CheckConstraint("cause IN ('person', 'handler', 'busy', 'circuit')", name="ck_pauses_cause"),
        sa.PrimaryKeyConstraint("kind", "name", "cause", name="pk_pauses"),
        comment="Routes, destinations and providers that stand still; until NULL = until somebody resumes them",
    )
