"""The hub's tables of who works: workers with their fences and leases, and whose each lane is."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
)

from hub.store.metadata import metadata
from hub.store.types import BigInt, UtcTime

workers = Table(
    "workers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("epoch", BigInt, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("instance", Text, nullable=False),
    Column("delivers", Boolean, nullable=False),
    Column("relays", Boolean, nullable=False),
    Column(
        "state", String(10), CheckConstraint("state IN ('running', 'stopped', 'lost')", name="state"), nullable=False
    ),
    Column("started_at", UtcTime, nullable=False),
    comment="The fence: every transaction of a worker's lanes reads its row under its own epoch",
)

leases = Table(
    "leases",
    metadata,
    Column("worker_id", Uuid, primary_key=True),
    Column("until", UtcTime, nullable=False),
    comment="Heartbeats, in rows of their own so that they never wait for a batch",
)

lanes = Table(
    "lanes",
    metadata,
    Column("kind", String(10), CheckConstraint("kind IN ('deliver', 'relay')", name="kind"), nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("worker_id", Uuid),
    PrimaryKeyConstraint("kind", "lane"),
    comment="Who owns which lane: to deliver what came in, and to relay what goes out",
)
