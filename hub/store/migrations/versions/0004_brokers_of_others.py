"""What the hub keeps about a broker that is not its own database: bindings it made, acknowledgements in doubt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import UtcTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "broker_bindings",
        sa.Column("exchange", sa.String(length=255), nullable=False),
        sa.Column("queue", sa.String(length=255), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("exchange", "queue", "pattern", name="pk_broker_bindings"),
        comment="Bindings that the hub made at a broker which cannot list them, to take away what the rules drop",
    )
    op.create_table(
        "unproven",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("queue", sa.String(length=255), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("accepted_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_unproven"),
        comment="Events without an id whose acknowledgement may be lost; each absorbs one redelivery",
    )
    op.create_index("ix_unproven_content", "unproven", ["queue", "content_hash"])
