"""The hub's tables of what is to be sent: the outbox, and the embedded broker's bindings and messages."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    text,
)

from hub.store.metadata import metadata
from hub.store.sequences import define_sequence
from hub.store.types import BigInt, Json, UtcTime

outbox_seq = define_sequence("outbox_seq")
message_seq = define_sequence("local_message_seq")

outbox = Table(
    "outbox",
    metadata,
    Column("seq", BigInt, primary_key=True, autoincrement=False),
    Column("message_id", Text, nullable=False),
    Column("delivery_id", BigInt, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("destination", String(100), nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("key", Text),
    Column("lane", SmallInteger, nullable=False),
    Column("chain", BigInt, nullable=False),
    Column("content_type", String(200), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("headers", Json, nullable=False),
    Column(
        "state",
        String(10),
        CheckConstraint("state IN ('ready', 'waiting', 'parked', 'sent', 'discarded')", name="state"),
        nullable=False,
    ),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("sent_at", UtcTime),
    Index(
        "ix_outbox_ready", "lane", "seq", postgresql_where=text("state = 'ready'"), sqlite_where=text("state = 'ready'")
    ),
    Index("ix_outbox_delivery_id", "delivery_id"),
    Index(
        "ix_outbox_behind",
        "chain",
        "seq",
        postgresql_where=text("state IN ('waiting', 'parked')"),
        sqlite_where=text("state IN ('waiting', 'parked')"),
    ),
    comment="Messages to send, stored with the effect they tell of",
)

outbox_blocked = Table(
    "outbox_blocked",
    metadata,
    Column("chain", BigInt, primary_key=True, autoincrement=False),
    Column("lane", SmallInteger, nullable=False),
    Column("state", String(10), CheckConstraint("state IN ('backoff', 'parked')", name="state"), nullable=False),
    Column("next_at", UtcTime),
    Index("ix_outbox_blocked_next_at", "lane", "next_at"),
    comment="(destination, key) chains whose first message could not be sent",
)

local_bindings = Table(
    "local_bindings",
    metadata,
    Column("exchange", String(255), nullable=False),
    Column("queue", String(255), nullable=False),
    Column("pattern", String(255), nullable=False),
    PrimaryKeyConstraint("exchange", "queue", "pattern"),
    comment="The embedded broker: which exchange feeds which queue",
)

local_messages = Table(
    "local_messages",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("queue", String(255), nullable=False),
    Column("message_id", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("content_type", String(200), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("headers", Json, nullable=False),
    Column("published_at", UtcTime, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Index("ix_local_messages_queue", "queue", "id"),
    Index("uq_local_messages_queue_message_id", "queue", "message_id", unique=True),
    comment="The embedded broker's messages: one row per (message, queue), until it is acknowledged",
)
