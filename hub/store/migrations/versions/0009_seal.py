"""What is final is sealed: a chain of blocks over ids and hashes of rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import BigInt, UtcTime

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "seal_blocks",
        sa.Column("number", BigInt, autoincrement=False, nullable=False),
        sa.Column("previous", sa.LargeBinary(length=32), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("sealed_at", UtcTime(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_seal_blocks"),
        comment="The chain: root = Merkle root over the members, hash = over all the other columns",
    )
    op.create_table(
        "seal_members",
        sa.Column("block", BigInt, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("low", BigInt, nullable=False),
        sa.Column("high", BigInt, nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("block", "kind", "low", name="pk_seal_members"),
        comment="What a block seals: ids and leaves of one kind of row, packed, those of neighbouring ids together",
    )
    op.create_index("ix_seal_members_kind_low", "seal_members", ["kind", "low"])
    _bookkeeping()
    op.create_table(
        "seal_prunings",
        sa.Column("number", BigInt, autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("low", BigInt, nullable=False),
        sa.Column("high", BigInt, nullable=False),
        sa.Column("ids", sa.LargeBinary(), nullable=False),
        sa.Column("archive", sa.Text(), nullable=False),
        sa.Column("pruned_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_seal_prunings"),
        comment="Sealed rows that were archived and deleted on purpose; sealed in their turn",
    )
    op.create_index("ix_seal_prunings_kind_low", "seal_prunings", ["kind", "low"])
    if op.get_context().dialect.name == "postgresql":
        op.execute(sa.schema.CreateSequence(sa.Sequence("seal_prunings_seq")))


def _bookkeeping() -> None:
    op.create_table(
        "seal_cursors",
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("position", BigInt, nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_seal_cursors"),
        comment="Up to which id the sealer has looked at each kind of row",
    )
    op.create_table(
        "seal_pending",
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("id", BigInt, nullable=False),
        sa.PrimaryKeyConstraint("kind", "id", name="pk_seal_pending"),
        comment="Rows that the sealer has passed and that were not final",
    )
    op.create_table(
        "seal_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("turn", BigInt, nullable=False),
        sa.Column("number", BigInt, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("until", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_seal_state"),
        comment="One row: the head of the chain, and who seals at the moment",
    )
