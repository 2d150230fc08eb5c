"""Find the chains that wait for a call among a million that wait for something else."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    is_calling = sa.text("state = 'calling'")
    op.create_index("ix_blocked_calling", "blocked", ["lane"], postgresql_where=is_calling, sqlite_where=is_calling)
