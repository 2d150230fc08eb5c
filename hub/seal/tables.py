"""The tables of the seal. Only the sealer writes blocks and members, one transaction per block."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, PrimaryKeyConstraint, String, Table, Text, Uuid

from hub.store.metadata import metadata
from hub.store.sequences import define_sequence
from hub.store.types import BigInt, UtcTime

prunings_seq = define_sequence("seal_prunings_seq")

blocks = Table(
    "seal_blocks",
    metadata,
    Column("number", BigInt, primary_key=True, autoincrement=False),
    Column("previous", LargeBinary(32), nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("members", Integer, nullable=False),
    Column("sealed_at", UtcTime, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    comment="The chain: root = Merkle root over the members, hash = over all the other columns",
)

members = Table(
    "seal_members",
    metadata,
    Column("block", BigInt, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("low", BigInt, nullable=False),
    Column("high", BigInt, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    PrimaryKeyConstraint("block", "kind", "low"),
    Index("ix_seal_members_kind_low", "kind", "low"),
    comment="What a block seals: ids and leaves of one kind of row, packed, those of neighbouring ids together",
)

cursors = Table(
    "seal_cursors",
    metadata,
    Column("kind", String(10), primary_key=True),
    Column("position", BigInt, nullable=False),
    comment="Up to which id the sealer has looked at each kind of row",
)

pending = Table(
    "seal_pending",
    metadata,
    Column("kind", String(10), nullable=False),
    Column("id", BigInt, nullable=False),
    PrimaryKeyConstraint("kind", "id"),
    comment="Rows that the sealer has passed and that were not final",
)

state = Table(
    "seal_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("turn", BigInt, nullable=False),
    Column("number", BigInt, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("holder", Uuid),
    Column("until", UtcTime),
    comment="One row: the head of the chain, and who seals at the moment",
)

prunings = Table(
    "seal_prunings",
    metadata,
    Column("number", BigInt, primary_key=True, autoincrement=False),
    Column("kind", String(10), nullable=False),
    Column("low", BigInt, nullable=False),
    Column("high", BigInt, nullable=False),
    Column("ids", LargeBinary, nullable=False),
    Column("archive", Text, nullable=False),
    Column("pruned_at", UtcTime, nullable=False),
    Index("ix_seal_prunings_kind_low", "kind", "low"),
    comment="Sealed rows that were archived and deleted on purpose; sealed in their turn",
)
