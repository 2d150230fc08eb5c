"""Which handing out of a message without an id is in doubt."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import BigInt

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("unproven", sa.Column("session", sa.Uuid()))
    op.add_column("unproven", sa.Column("number", BigInt))
    op.create_index("ix_unproven_handed_out", "unproven", ["session", "number"])
