"""Archived events are found by their keys and tags: by hashes of them, so that the archive alone says what they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
compatible_since = "0010"


def upgrade() -> None:
    op.create_table(
        "archived_names",
        sa.Column("name_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("name_hash", "event_id", name="pk_archived_names"),
        comment="Hashes of the keys and tags of archived events, for the search",
        sqlite_with_rowid=False,
    )
