"""Tables of transports whose broker is not the hub's own database.

The embedded queues' are in ``hub/store/tables.py``.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, LargeBinary, PrimaryKeyConstraint, String, Table, Text, Uuid

from hub.store.metadata import metadata
from hub.store.types import BigInt, UtcTime

broker_bindings = Table(
    "broker_bindings",
    metadata,
    Column("exchange", String(255), nullable=False),
    Column("queue", String(255), nullable=False),
    Column("pattern", Text, nullable=False),
    PrimaryKeyConstraint("exchange", "queue", "pattern"),
    comment="Bindings that the hub made at a broker which cannot list them, to take away what the rules drop",
)

unproven = Table(
    "unproven",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("queue", String(255), nullable=False),
    Column("content_hash", LargeBinary(16), nullable=False),
    Column("accepted_at", UtcTime, nullable=False),
    Column("session", Uuid),
    Column("number", BigInt),
    Index("ix_unproven_content", "queue", "content_hash"),
    Index("ix_unproven_handed_out", "session", "number"),
    comment="Events without an id whose acknowledgement may be lost; each absorbs one redelivery",
)
