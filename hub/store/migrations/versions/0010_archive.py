"""Old events can be taken out of the tables and into an archive, and are found there again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import BigInt, UtcTime

revision = "0010"
down_revision = "0009"

SORTS = "sort IN ('duplicates', 'conflicts', 'unmatched', 'refused', 'discarded', 'applied')"


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute(sa.schema.CreateSequence(sa.Sequence("archive_seq")))
    op.create_table(
        "archive_objects",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("written_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_archive_objects"),
        sa.UniqueConstraint("name", name="uq_archive_objects_name"),
        comment="Objects of the archive, written and read back before a row was deleted; never changed",
    )
    op.create_table(
        "archived",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("object_id", BigInt, nullable=False),
        sa.Column("event_seq", BigInt, nullable=True),
        sa.Column("late", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "object_id", name="pk_archived"),
        comment="Where each archived event is, for ever; late = repeats that came after it was archived",
    )
    op.create_index("ix_archived_object_id", "archived", ["object_id"])
    op.create_table(
        "archived_totals",
        sa.Column("source", sa.String(length=100), nullable=False),
        sa.Column("sort", sa.String(length=12), nullable=False),
        sa.Column("count", BigInt, nullable=False),
        sa.CheckConstraint(SORTS, name="ck_archived_totals_sort"),
        sa.PrimaryKeyConstraint("source", "sort", name="pk_archived_totals"),
        comment="How many rows went into the archive, by what they were, for the counting equation",
    )
