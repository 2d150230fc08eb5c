"""Lanes are owned apart for delivering and for relaying, and a worker is known by more than a number.

Ownership begins anew: a worker of the program before has lost its fence and owns nothing from here on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import BigInt, UtcTime

revision = "0002"
down_revision = "0001"

LANES = 256


def upgrade() -> None:
    for name in ("lanes", "leases", "workers"):
        op.drop_table(name)
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("epoch", BigInt, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("delivers", sa.Boolean(), nullable=False),
        sa.Column("relays", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.CheckConstraint("state IN ('running', 'stopped', 'lost')", name="ck_workers_state"),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
        comment="The fence: every transaction of a worker's lanes reads its row under its own epoch",
    )
    op.create_table(
        "leases",
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name="pk_leases"),
        comment="Heartbeats, in rows of their own so that they never wait for a batch",
    )
    lanes = op.create_table(
        "lanes",
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("kind IN ('deliver', 'relay')", name="ck_lanes_kind"),
        sa.PrimaryKeyConstraint("kind", "lane", name="pk_lanes"),
        comment="Who owns which lane: to deliver what came in, and to relay what goes out",
    )
    op.bulk_insert(lanes, [{"kind": kind, "lane": lane} for kind in ("deliver", "relay") for lane in range(LANES)])
