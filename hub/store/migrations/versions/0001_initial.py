"""The hub's first tables, and the rules of the ledger that the database enforces."""

# ruff: noqa: E501, PLR0915 - a list of tables, as it was drafted
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.ledger.ddl import create_statements
from hub.store.types import BigInt, Json, UtcTime

revision = "0001"
down_revision = None


SEQUENCES = (
    "inbox_seq",
    "outbox_seq",
    "local_message_seq",
    "ledger_accounts_seq",
    "ledger_entries_seq",
    "ledger_moves_seq",
)
"""Real ones on PostgreSQL; SQLite counts in the table ``sequences``."""


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    if dialect == "postgresql":
        for name in SEQUENCES:
            op.execute(sa.schema.CreateSequence(sa.Sequence(name)))
    _create_tables(dialect)
    for statement in create_statements(dialect):
        op.get_bind().exec_driver_sql(statement)


def _create_tables(dialect: str) -> None:
    op.create_table(
        "accounts",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("code", sa.String(length=200), nullable=False),
        sa.Column("currency", sa.String(length=12), nullable=False),
        sa.Column("side", sa.String(length=6), nullable=False),
        sa.Column("running", sa.Boolean(), nullable=False),
        sa.Column("may_go_negative", sa.Boolean(), nullable=False),
        sa.Column("opened_at", UtcTime(), nullable=False),
        sa.CheckConstraint("side IN ('debit', 'credit')", name="ck_accounts_side"),
        sa.CheckConstraint("length(code) > 0 AND length(currency) >= 3", name="ck_accounts_named"),
        sa.CheckConstraint("running OR may_go_negative", name="ck_accounts_only_running_has_floor"),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("code", name="uq_accounts_code"),
        comment="Definitions of accounts; never changed, never deleted",
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", BigInt, nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("duration_ms", sa.Float(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
        comment="Attempts that failed; the one that succeeded is the delivery itself",
    )
    op.create_index("ix_attempts_delivery_id", "attempts", ["delivery_id"], unique=False)
    op.create_table(
        "balances",
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("slot", sa.SmallInteger(), nullable=False),
        sa.Column("balance", BigInt, nullable=False),
        sa.Column("last_move_id", BigInt, nullable=False),
        sa.CheckConstraint("balance BETWEEN -1000000000000000000 AND 1000000000000000000", name="ck_balances_bounded"),
        sa.CheckConstraint("slot >= 0", name="ck_balances_slot"),
        sa.PrimaryKeyConstraint("account_id", "slot", name="pk_balances"),
        comment="Balances in the account's own direction, changed by the moves' trigger alone",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "barriers",
        sa.Column("chain", BigInt, nullable=False),
        sa.Column("delivery_id", BigInt, nullable=False),
        sa.PrimaryKeyConstraint("chain", "delivery_id", name="pk_barriers"),
        comment="Chains that must wait for a delivery of another key, until it is done",
    )
    op.create_index("ix_barriers_delivery_id", "barriers", ["delivery_id"], unique=False)
    op.create_table(
        "blocked",
        sa.Column("chain", BigInt, autoincrement=False, nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("head", BigInt, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("next_at", UtcTime(), nullable=True),
        sa.CheckConstraint("state IN ('backoff', 'calling', 'parked', 'barrier')", name="ck_blocked_state"),
        sa.PrimaryKeyConstraint("chain", name="pk_blocked"),
        comment="One row per chain that waits, with its head and when to look again",
    )
    op.create_index("ix_blocked_next_at", "blocked", ["lane", "next_at"], unique=False)
    op.create_table(
        "calls",
        sa.Column("delivery_id", BigInt, nullable=False),
        sa.Column("step", sa.String(length=80), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("provider", sa.String(length=80), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("outcome", Json, nullable=True),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("settled_at", UtcTime(), nullable=True),
        sa.Column("lookups", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('started', 'settled', 'declined', 'pending', 'unknown', 'not_found')", name="ck_calls_state"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "step", "number", name="pk_calls"),
        comment="Every call to a provider, committed before it is sent",
    )
    op.create_index(
        "ix_calls_open",
        "calls",
        ["started_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('started', 'pending', 'unknown')"),
        sqlite_where=sa.text("state IN ('started', 'pending', 'unknown')"),
    )
    op.create_table(
        "conflicts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=100), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("content_type", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'resolved')", name="ck_conflicts_state"),
        sa.PrimaryKeyConstraint("id", name="pk_conflicts"),
        comment="The same identity with other content: kept whole, for a person",
    )
    op.create_index("ix_conflicts_event_id", "conflicts", ["event_id"], unique=False)
    op.create_table(
        "corrections",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("corrected_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("corrected_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "number", name="pk_corrections"),
        comment="What a person made of an event's payload; the inbox keeps what came",
    )
    op.create_table(
        "deliveries",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("event_seq", BigInt, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("route_id", sa.Integer(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("chain", BigInt, nullable=False),
        sa.Column("barrier", sa.Boolean(), nullable=False),
        sa.Column("unsure", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", UtcTime(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("finished_at", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "state IN ('ready', 'waiting', 'calling', 'retrying', 'deferred', 'parked', 'done', 'refused', 'discarded')",
            name="ck_deliveries_state",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        comment="One event x one route; id = event_seq * 65536 + route_id; unsure = its condition could not be evaluated",
    )
    op.create_index(
        "ix_deliveries_behind",
        "deliveries",
        ["chain", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('waiting', 'calling', 'retrying', 'parked')"),
        sqlite_where=sa.text("state IN ('waiting', 'calling', 'retrying', 'parked')"),
    )
    op.create_index("ix_deliveries_event_seq", "deliveries", ["event_seq"], unique=False)
    op.create_index(
        "ix_deliveries_open",
        "deliveries",
        ["state", "next_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('deferred', 'parked', 'waiting')"),
        sqlite_where=sa.text("state IN ('deferred', 'parked', 'waiting')"),
    )
    op.create_index(
        "ix_deliveries_ready",
        "deliveries",
        ["lane", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'ready'"),
        sqlite_where=sa.text("state = 'ready'"),
    )
    op.create_table(
        "duplicates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=100), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_duplicates"),
        comment="Repeats of an accepted event; event_id is the first one",
    )
    op.create_index("ix_duplicates_event_id", "duplicates", ["event_id"], unique=False)
    op.create_table(
        "identities",
        sa.Column("id_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("same_hash", sa.LargeBinary(length=16), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("id_hash", name="pk_identities"),
        comment="(source, dedupe id) of everything accepted, for ever; never pruned",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "inbox",
        sa.Column("seq", BigInt, autoincrement=False, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=100), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("after", Json, nullable=False),
        sa.Column("dedupe_id", sa.Text(), nullable=True),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("occurred_at", UtcTime(), nullable=False),
        sa.Column("received_at", UtcTime(), nullable=False),
        sa.Column("content_type", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("traceparent", sa.String(length=55), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("hops", sa.SmallInteger(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("matches", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_inbox"),
        comment="Every accepted event, byte for byte; problem = why it could not be read; matches = deliveries made",
    )
    op.create_index("ix_inbox_id", "inbox", ["id"], unique=False)
    op.create_table(
        "lanes",
        sa.Column("lane", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("lane", name="pk_lanes"),
        comment="Who owns which lane",
    )
    op.create_table(
        "leases",
        sa.Column("worker_id", sa.Uuid(), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", name="pk_leases"),
        comment="Heartbeats, in rows of their own so that they never wait for a batch",
    )
    op.create_table(
        "local_bindings",
        sa.Column("exchange", sa.String(length=255), nullable=False),
        sa.Column("queue", sa.String(length=255), nullable=False),
        sa.Column("pattern", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("exchange", "queue", "pattern", name="pk_local_bindings"),
        comment="The embedded broker: which exchange feeds which queue",
    )
    op.create_table(
        "local_messages",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("queue", sa.String(length=255), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("content_type", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("published_at", UtcTime(), nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_local_messages"),
        comment="The embedded broker's messages: one row per (message, queue), until it is acknowledged",
    )
    op.create_index("ix_local_messages_queue", "local_messages", ["queue", "id"], unique=False)
    op.create_index("uq_local_messages_queue_message_id", "local_messages", ["queue", "message_id"], unique=True)
    op.create_table(
        "moves",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("entry_id", BigInt, nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("debit_account", BigInt, nullable=False),
        sa.Column("debit_slot", sa.SmallInteger(), nullable=False),
        sa.Column("debit_after", BigInt, nullable=True),
        sa.Column("credit_account", BigInt, nullable=False),
        sa.Column("credit_slot", sa.SmallInteger(), nullable=False),
        sa.Column("credit_after", BigInt, nullable=True),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("currency", sa.String(length=12), nullable=False),
        sa.CheckConstraint("amount BETWEEN 1 AND 1000000000000000", name="ck_moves_amount"),
        sa.CheckConstraint("debit_account <> credit_account", name="ck_moves_two_accounts"),
        sa.CheckConstraint("position >= 1", name="ck_moves_position"),
        sa.PrimaryKeyConstraint("id", name="pk_moves"),
        comment="Money from one account to another; never changed, never deleted. debit_after = running balance after it",
    )
    op.create_index("ix_moves_credit_account_entry_id", "moves", ["credit_account", "entry_id"], unique=False)
    op.create_index("ix_moves_debit_account_entry_id", "moves", ["debit_account", "entry_id"], unique=False)
    op.create_index("uq_moves_entry_id_position", "moves", ["entry_id", "position"], unique=True)
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_operations"),
        comment="What people did: retry, discard, edit, resolve",
    )
    op.create_index("ix_operations_target", "operations", ["target"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("seq", BigInt, autoincrement=False, nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("delivery_id", BigInt, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("destination", sa.String(length=100), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("chain", BigInt, nullable=False),
        sa.Column("content_type", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("sent_at", UtcTime(), nullable=True),
        sa.CheckConstraint("state IN ('ready', 'waiting', 'parked', 'sent', 'discarded')", name="ck_outbox_state"),
        sa.PrimaryKeyConstraint("seq", name="pk_outbox"),
        comment="Messages to send, stored with the effect they tell of",
    )
    op.create_index(
        "ix_outbox_behind",
        "outbox",
        ["chain", "seq"],
        unique=False,
        postgresql_where=sa.text("state IN ('waiting', 'parked')"),
        sqlite_where=sa.text("state IN ('waiting', 'parked')"),
    )
    op.create_index("ix_outbox_delivery_id", "outbox", ["delivery_id"], unique=False)
    op.create_index(
        "ix_outbox_ready",
        "outbox",
        ["lane", "seq"],
        unique=False,
        postgresql_where=sa.text("state = 'ready'"),
        sqlite_where=sa.text("state = 'ready'"),
    )
    op.create_table(
        "outbox_blocked",
        sa.Column("chain", BigInt, autoincrement=False, nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("next_at", UtcTime(), nullable=True),
        sa.CheckConstraint("state IN ('backoff', 'parked')", name="ck_outbox_blocked_state"),
        sa.PrimaryKeyConstraint("chain", name="pk_outbox_blocked"),
        comment="(destination, key) chains whose first message could not be sent",
    )
    op.create_index("ix_outbox_blocked_next_at", "outbox_blocked", ["lane", "next_at"], unique=False)
    op.create_table(
        "received_totals",
        sa.Column("source", sa.String(length=100), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("received", BigInt, nullable=False),
        sa.PrimaryKeyConstraint("source", "slot", name="pk_received_totals"),
        comment="How many authenticated messages came, counted apart from the rows they made",
    )
    op.create_table(
        "reviews",
        sa.Column("delivery_id", BigInt, autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.String(length=60), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("resolved_at", UtcTime(), nullable=True),
        sa.Column("resolved_by", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'resolved')", name="ck_reviews_state"),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_reviews"),
        comment="Deliveries that were done, but whose result a person must look at",
    )
    op.create_index(
        "ix_reviews_open",
        "reviews",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open'"),
        sqlite_where=sa.text("state = 'open'"),
    )
    op.create_table(
        "routes",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_routes"),
        sa.UniqueConstraint("name", name="uq_routes_name"),
        comment="Every route name that ever made a delivery; the number never changes its meaning",
    )
    op.create_table(
        "schedules",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("last_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_schedules"),
        comment="The last instant of each schedule that became an event",
    )
    op.create_table(
        "sequences",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", BigInt, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_sequences"),
        comment="Counters, used on SQLite only",
    )
    op.create_table(
        "tags",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("name", "value", "event_id", name="pk_tags"),
        comment="Business names of events, for the search",
    )
    op.create_index("ix_tags_event_id", "tags", ["event_id"], unique=False)
    op.create_index("ix_tags_value", "tags", ["value"], unique=False)
    op.create_table(
        "timers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("due_at", UtcTime(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("dedupe_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("traceparent", sa.String(length=55), nullable=False),
        sa.Column("hops", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_timers"),
        comment="Events to come; a row goes when its event is accepted",
    )
    op.create_index("ix_timers_due_at", "timers", ["due_at"], unique=False)
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("epoch", BigInt, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.CheckConstraint("state IN ('running', 'stopped', 'lost')", name="ck_workers_state"),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
        comment="The fence: every transaction of a worker's lanes reads its row under its own epoch",
    )
    # Where foreign keys are on, SQLite refuses the commit of an entry whose last move is missing.
    last_move = sa.ForeignKeyConstraint(
        ["id", "move_count"],
        ["moves.entry_id", "moves.position"],
        name="fk_entries_last_move",
        deferrable=True,
        initially="DEFERRED",
    )
    op.create_table(
        "entries",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("reference", sa.String(length=300), nullable=False),
        sa.Column("kind", sa.String(length=100), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("delivery_id", BigInt, nullable=True),
        sa.Column("reverses", BigInt, nullable=True),
        sa.Column("reverses_fully", sa.Boolean(), nullable=False),
        sa.Column("hold_id", BigInt, nullable=True),
        sa.Column("move_count", sa.SmallInteger(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("data", Json, nullable=True),
        sa.Column("posted_at", UtcTime(), nullable=False),
        sa.CheckConstraint("id > 0 AND length(reference) > 0", name="ck_entries_named"),
        sa.CheckConstraint("move_count BETWEEN 1 AND 1000", name="ck_entries_has_moves"),
        sa.CheckConstraint("reverses IS NOT NULL OR NOT reverses_fully", name="ck_entries_reversal_names_entry"),
        *([last_move] if dialect == "sqlite" else []),
        sa.PrimaryKeyConstraint("id", name="pk_entries"),
        sa.UniqueConstraint("reference", name="uq_entries_reference"),
        comment="One business fact each; never changed, never deleted",
    )
    op.create_index("ix_entries_event_id", "entries", ["event_id"], unique=False)
    op.create_index(
        "ix_entries_hold_id", "entries", ["hold_id"], unique=False, postgresql_where=sa.text("hold_id IS NOT NULL")
    )
    op.create_index(
        "ix_entries_reverses", "entries", ["reverses"], unique=False, postgresql_where=sa.text("reverses IS NOT NULL")
    )
    op.create_index(
        "uq_entries_full_reversal",
        "entries",
        ["reverses"],
        unique=True,
        postgresql_where=sa.text("reverses_fully"),
        sqlite_where=sa.text("reverses_fully"),
    )
    op.create_table(
        "holds",
        sa.Column("id", BigInt, autoincrement=False, nullable=False),
        sa.Column("reference", sa.String(length=300), nullable=False),
        sa.Column("account_id", BigInt, nullable=False),
        sa.Column("held_account_id", BigInt, nullable=False),
        sa.Column("amount", BigInt, nullable=False),
        sa.Column("currency", sa.String(length=12), nullable=False),
        sa.Column("captured", BigInt, nullable=False),
        sa.Column("released", BigInt, nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("expires_at", UtcTime(), nullable=True),
        sa.Column("last_entry_id", BigInt, nullable=False),
        sa.Column("opened_at", UtcTime(), nullable=False),
        sa.Column("closed_at", UtcTime(), nullable=True),
        sa.CheckConstraint(
            "(state = 'open') = (captured + released < amount)", name="ck_holds_open_while_something_remains"
        ),
        sa.CheckConstraint("(state = 'open') = (closed_at IS NULL)", name="ck_holds_closed_at"),
        sa.CheckConstraint(
            "(state IN ('open', 'captured')) = (released = 0)", name="ck_holds_released_when_given_back"
        ),
        sa.CheckConstraint("state IN ('open', 'captured', 'voided', 'expired')", name="ck_holds_state"),
        sa.CheckConstraint("amount > 0 AND captured >= 0 AND released >= 0", name="ck_holds_positive"),
        sa.CheckConstraint("captured + released <= amount", name="ck_holds_within_amount"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_holds_account_id"),
        sa.ForeignKeyConstraint(["held_account_id"], ["accounts.id"], name="fk_holds_held_account_id"),
        sa.PrimaryKeyConstraint("id", name="pk_holds"),
        sa.UniqueConstraint("reference", name="uq_holds_reference"),
        comment="Money set aside: id = the entry that moved it to the held account",
    )
    op.create_index("ix_holds_account_id", "holds", ["account_id"], unique=False)
    op.create_index(
        "ix_holds_expires_at",
        "holds",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'open' AND expires_at IS NOT NULL"),
        sqlite_where=sa.text("state = 'open' AND expires_at IS NOT NULL"),
    )
    op.create_index("ix_holds_held_account_id", "holds", ["held_account_id"], unique=False)
