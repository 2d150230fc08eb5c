"""What stands still, as all processes of a database see it."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, PrimaryKeyConstraint, String, Table, Text

from hub.store.metadata import metadata
from hub.store.types import UtcTime

pauses = Table(
    "pauses",
    metadata,
    Column(
        "kind", String(12), CheckConstraint("kind IN ('route', 'destination', 'provider')", name="kind"), nullable=False
    ),
    Column("name", String(100), nullable=False),
    Column(
        "cause",
        String(10),
        CheckConstraint("cause IN ('person', 'handler', 'busy', 'circuit')", name="cause"),
        nullable=False,
    ),
    Column("paused_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime),
    PrimaryKeyConstraint("kind", "name", "cause"),
    comment="Routes, destinations and providers that stand still; until NULL = until somebody resumes them",
)
