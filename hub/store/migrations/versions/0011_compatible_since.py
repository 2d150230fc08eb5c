"""The database says how old a program may be that works on its tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
compatible_since = "0010"


def upgrade() -> None:
    op.create_table(
        "compatibility",
        sa.Column("branch", sa.String(length=100), nullable=False),
        sa.Column("since", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("branch", name="pk_compatibility"),
        comment="By branch of migrations: a program that knows this migration may work on the tables",
    )
