"""The tables of the people at the console: who may sign in, who is signed in, who failed to; and what was checked."""

from __future__ import annotations

from sqlalchemy import Boolean, CheckConstraint, Column, Float, Index, LargeBinary, String, Table, Text, Uuid

from hub.store.metadata import metadata
from hub.store.types import Json, UtcTime

ROLES = ("viewer", "operator", "admin")

console_users = Table(
    "console_users",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("role", String(10), CheckConstraint(f"role IN {ROLES!r}", name="role"), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    comment="Who may sign in at the console; password_hash is Argon2id",
)

console_sessions = Table(
    "console_sessions",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("role", String(10), CheckConstraint(f"role IN {ROLES!r}", name="role"), nullable=False),
    Column("credential", LargeBinary(32), nullable=False),
    Column("address", String(64), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("seen_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Index("ix_console_sessions_name", "name"),
    Index("ix_console_sessions_expires_at", "expires_at"),
    comment="Who is signed in; a deleted row is a session that is over; credential = hash of the proof",
    sqlite_with_rowid=False,
)

console_failures = Table(
    "console_failures",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("name_hash", LargeBinary(32), nullable=False),
    Column("address", String(64), nullable=False),
    Index("ix_console_failures_at", "at"),
    comment="Sign-ins that failed a short time ago, which slow down the next ones",
)

checks = Table(
    "checks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("holds", Boolean, nullable=False),
    Column("report", Json, nullable=False),
    Index("ix_checks_at", "at"),
    comment="Results of the proof that all is accounted for and that the books add up",
)
