"""The hub's tables of what was taken out of it: which event is in which object of the archive, and how many."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    Uuid,
)

from hub.store.metadata import metadata
from hub.store.sequences import define_sequence
from hub.store.types import BigInt, UtcTime

ARCHIVED_SORTS = ("duplicates", "conflicts", "unmatched", "refused", "discarded", "applied")

archive_seq = define_sequence("archive_seq")

archive_objects = Table(
    "archive_objects",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("events", Integer, nullable=False),
    Column("written_at", UtcTime, nullable=False),
    comment="Objects of the archive, written and read back before a row was deleted; never changed",
)

archived = Table(
    "archived",
    metadata,
    Column("event_id", Uuid, nullable=False),
    Column("object_id", BigInt, nullable=False),
    Column("event_seq", BigInt),
    Column("late", Boolean, nullable=False),
    PrimaryKeyConstraint("event_id", "object_id"),
    Index("ix_archived_object_id", "object_id"),
    comment="Where each archived event is, for ever; late = repeats that came after it was archived",
)

archived_names = Table(
    "archived_names",
    metadata,
    Column("name_hash", LargeBinary(16), nullable=False),
    Column("event_id", Uuid, nullable=False),
    PrimaryKeyConstraint("name_hash", "event_id"),
    comment="Hashes of the keys and tags of archived events, for the search",
    sqlite_with_rowid=False,
)

archived_totals = Table(
    "archived_totals",
    metadata,
    Column("source", String(100), nullable=False),
    Column("sort", String(12), CheckConstraint(f"sort IN {ARCHIVED_SORTS!r}", name="sort"), nullable=False),
    Column("count", BigInt, nullable=False),
    PrimaryKeyConstraint("source", "sort"),
    comment="How many rows went into the archive, by what they were, for the counting equation",
)
