"""The hub's own tables: what was received, what is to be done with it, what was done, what is to be sent.

``inbox``, ``deliveries``, ``calls`` and ``outbox`` carry no unique key across time, so that months can be archived;
``identities`` is kept for ever. What is to be sent is in ``tables_sending.py``, who works in ``tables_workers.py``, who
looks in ``tables_people.py``, the ledger in ``hub/ledger/tables.py``.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    FromClause,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    literal_column,
    text,
)

from hub.store.append_only import append_only
from hub.store.metadata import metadata
from hub.store.sequences import define_sequence
from hub.store.tables_people import checks, console_failures, console_sessions, console_users
from hub.store.tables_schema import compatibility
from hub.store.tables_sending import local_bindings, local_messages, message_seq, outbox, outbox_blocked, outbox_seq
from hub.store.tables_workers import lanes, leases, workers
from hub.store.types import BigInt, Json, UtcTime

__all__ = [
    "BEHIND_STATES",
    "DELIVERY_STATES",
    "OFF_CHAIN_STATES",
    "OPEN_STATES",
    "attempts",
    "barriers",
    "blocked",
    "calls",
    "checks",
    "compatibility",
    "conflicts",
    "console_failures",
    "console_sessions",
    "console_users",
    "corrections",
    "deliveries",
    "duplicates",
    "identities",
    "in_state",
    "inbox",
    "inbox_seq",
    "lanes",
    "leases",
    "local_bindings",
    "local_messages",
    "message_seq",
    "operations",
    "outbox",
    "outbox_blocked",
    "outbox_seq",
    "received_totals",
    "reviews",
    "routes",
    "schedules",
    "tags",
    "timers",
    "trace_id",
    "workers",
]

inbox_seq = define_sequence("inbox_seq")

trace_id: ColumnElement[str] = literal_column("substr(traceparent, 4, 32)", String)
"""The trace id in a row's W3C trace context, written out as the indexes of ``inbox`` and ``timers`` hold it."""

identities = Table(
    "identities",
    metadata,
    Column("id_hash", LargeBinary(16), primary_key=True),
    Column("same_hash", LargeBinary(16), nullable=False),
    Column("event_id", Uuid, nullable=False),
    comment="(source, dedupe id) of everything accepted, for ever; never pruned",
    sqlite_with_rowid=False,
)

inbox = Table(
    "inbox",
    metadata,
    Column("seq", BigInt, primary_key=True, autoincrement=False),
    Column("id", Uuid, nullable=False),
    Column("source", String(100), nullable=False),
    Column("type", Text, nullable=False),
    Column("key", Text),
    Column("after", Json, nullable=False),
    Column("dedupe_id", Text),
    Column("routing_key", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("occurred_at", UtcTime, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("content_type", String(200), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("headers", Json, nullable=False),
    Column("traceparent", String(55), nullable=False),
    Column("verdict", String(20), nullable=False),
    Column("hops", SmallInteger, nullable=False),
    Column("problem", Text),
    Column("matches", SmallInteger, nullable=False),
    Column("cause", Uuid),
    Index("ix_inbox_id", "id"),
    Index("ix_inbox_trace", trace_id),
    Index("ix_inbox_key", "key", "seq", postgresql_where=text("key IS NOT NULL"), sqlite_where=text("key IS NOT NULL")),
    Index(
        "ix_inbox_cause",
        "cause",
        postgresql_where=text("cause IS NOT NULL"),
        sqlite_where=text("cause IS NOT NULL"),
    ),
    comment="Every accepted event, byte for byte; problem = why it could not be read; matches = deliveries made",
)

corrections = Table(
    "corrections",
    metadata,
    Column("event_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("corrected_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("corrected_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("event_id", "number"),
    comment="What a person made of an event's payload; the inbox keeps what came",
)

duplicates = Table(
    "duplicates",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("source", String(100), nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Index("ix_duplicates_event_id", "event_id"),
    comment="Repeats of an accepted event; event_id is the first one",
)

conflicts = Table(
    "conflicts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("source", String(100), nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("content_type", String(200), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("headers", Json, nullable=False),
    Column("state", String(10), CheckConstraint("state IN ('open', 'resolved')", name="state"), nullable=False),
    Column("resolved_by", Text),
    Column("note", Text),
    Index("ix_conflicts_event_id", "event_id"),
    comment="The same identity with other content: kept whole, for a person",
)

received_totals = Table(
    "received_totals",
    metadata,
    Column("source", String(100), nullable=False),
    Column("slot", Integer, nullable=False),
    Column("received", BigInt, nullable=False),
    PrimaryKeyConstraint("source", "slot"),
    comment="How many authenticated messages came, counted apart from the rows they made",
)

routes = Table(
    "routes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(100), nullable=False, unique=True),
    comment="Every route name that ever made a delivery; the number never changes its meaning",
)

DELIVERY_STATES = (
    "ready",  # may be picked
    "waiting",  # behind the head of its chain
    "calling",  # its handler is talking to a provider
    "retrying",  # the head of its chain, backing off
    "deferred",  # NotYet: left its chain, tried again later
    "parked",  # the hub could not run it: for a person
    "done",
    "refused",
    "discarded",
)
OPEN_STATES = ("ready", "waiting", "calling", "retrying", "deferred", "parked")
# As the partial indexes hold them: in this order.
BEHIND_STATES = ("waiting", "calling", "retrying", "parked")
OFF_CHAIN_STATES = ("deferred", "parked", "waiting")


def in_state(table: FromClause, *states: str) -> ColumnElement[bool]:
    """The row is in one of these states, written out in the statement.

    A partial index serves a statement only where its own condition stands in it as it is: SQLite compares the texts,
    and PostgreSQL's generic plans cannot see what a parameter holds.
    """
    words = [literal_column(f"'{state}'", String) for state in states]
    column: ColumnElement[str] = table.c.state
    return column == words[0] if len(words) == 1 else column.in_(words)


deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("event_seq", BigInt, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("route_id", Integer, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("chain", BigInt, nullable=False),
    Column("barrier", Boolean, nullable=False),
    Column("unsure", Boolean, nullable=False),
    Column("state", String(10), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", UtcTime),
    Column("outcome", Text),
    Column("reason", Text),
    Column("finished_at", UtcTime),
    CheckConstraint(f"state IN {DELIVERY_STATES!r}", name="state"),
    # Each index holds open rows only, so that picking does not grow dearer with history.
    Index(
        "ix_deliveries_ready",
        "lane",
        "id",
        postgresql_where=text("state = 'ready'"),
        sqlite_where=text("state = 'ready'"),
    ),
    Index(
        "ix_deliveries_behind",
        "chain",
        "id",
        postgresql_where=text(f"state IN {BEHIND_STATES!r}"),
        sqlite_where=text(f"state IN {BEHIND_STATES!r}"),
    ),
    Index(
        "ix_deliveries_open",
        "state",
        "next_at",
        postgresql_where=text(f"state IN {OFF_CHAIN_STATES!r}"),
        sqlite_where=text(f"state IN {OFF_CHAIN_STATES!r}"),
    ),
    Index("ix_deliveries_event_seq", "event_seq"),
    comment="One event x one route; id = event_seq * 65536 + route_id; unsure = its condition could not be evaluated",
)

blocked = Table(
    "blocked",
    metadata,
    Column("chain", BigInt, primary_key=True, autoincrement=False),
    Column("lane", SmallInteger, nullable=False),
    Column("head", BigInt, nullable=False),
    Column(
        "state",
        String(10),
        CheckConstraint("state IN ('backoff', 'calling', 'parked', 'barrier')", name="state"),
        nullable=False,
    ),
    Column("next_at", UtcTime),
    Index("ix_blocked_next_at", "lane", "next_at"),
    Index(
        "ix_blocked_calling", "lane", postgresql_where=text("state = 'calling'"), sqlite_where=text("state = 'calling'")
    ),
    comment="One row per chain that waits, with its head and when to look again",
)

barriers = Table(
    "barriers",
    metadata,
    Column("chain", BigInt, nullable=False),
    Column("delivery_id", BigInt, nullable=False),
    PrimaryKeyConstraint("chain", "delivery_id"),
    Index("ix_barriers_delivery_id", "delivery_id"),
    comment="Chains that must wait for a delivery of another key, until it is done",
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("delivery_id", BigInt, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("duration_ms", Float, nullable=False),
    Column("error", Text, nullable=False),
    Index("ix_attempts_delivery_id", "delivery_id"),
    comment="Attempts that failed; the one that succeeded is the delivery itself",
)

calls = Table(
    "calls",
    metadata,
    Column("delivery_id", BigInt, nullable=False),
    Column("step", String(80), nullable=False),
    Column("number", Integer, nullable=False),
    Column("provider", String(80), nullable=False),
    Column("key", Text, nullable=False),
    Column("request_hash", LargeBinary(16), nullable=False),
    Column("state", String(10), nullable=False),
    Column("outcome", Json),
    Column("started_at", UtcTime, nullable=False),
    Column("settled_at", UtcTime),
    Column("lookups", Integer, nullable=False),
    Column("closed_at", UtcTime),
    PrimaryKeyConstraint("delivery_id", "step", "number"),
    CheckConstraint("state IN ('started', 'settled', 'declined', 'pending', 'unknown', 'not_found')", name="state"),
    Index(
        "ix_calls_unclosed",
        "started_at",
        postgresql_where=text("state IN ('started', 'pending', 'unknown') AND closed_at IS NULL"),
        sqlite_where=text("state IN ('started', 'pending', 'unknown') AND closed_at IS NULL"),
    ),
    comment="Every call to a provider, committed before it is sent",
)

timers = Table(
    "timers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("due_at", UtcTime, nullable=False),
    Column("type", Text, nullable=False),
    Column("key", Text),
    Column("dedupe_id", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("traceparent", String(55), nullable=False),
    Column("hops", SmallInteger, nullable=False),
    Column("cause", Uuid),
    Index("ix_timers_due_at", "due_at"),
    Index("ix_timers_trace", trace_id),
    comment="Events to come; a row goes when its event is accepted",
)

schedules = Table(
    "schedules",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("last_at", UtcTime, nullable=False),
    comment="The last instant of each schedule that became an event",
)

tags = Table(
    "tags",
    metadata,
    Column("name", String(60), nullable=False),
    Column("value", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    PrimaryKeyConstraint("name", "value", "event_id"),
    Index("ix_tags_value", "value"),
    Index("ix_tags_event_id", "event_id"),
    comment="Business names of events, for the search",
)

reviews = Table(
    "reviews",
    metadata,
    Column("delivery_id", BigInt, primary_key=True, autoincrement=False),
    Column("event_id", Uuid, nullable=False),
    Column("outcome", String(60), nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", String(10), CheckConstraint("state IN ('open', 'resolved')", name="state"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("resolved_at", UtcTime),
    Column("resolved_by", Text),
    Column("note", Text),
    Index(
        "ix_reviews_open", "created_at", postgresql_where=text("state = 'open'"), sqlite_where=text("state = 'open'")
    ),
    comment="Deliveries that were done, but whose result a person must look at",
)

operations = append_only(
    Table(
        "operations",
        metadata,
        Column("id", Uuid, primary_key=True),
        Column("at", UtcTime, nullable=False),
        Column("actor", Text, nullable=False),
        Column("action", String(60), nullable=False),
        Column("target", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Index("ix_operations_target", "target"),
        Index("ix_operations_at", "at", "id"),
        comment="What people did: retry, discard, edit, resolve; rows are only ever added",
    )
)
