"""What the books are kept in. The rules that the database itself enforces are in ``ddl.py``.

Balances stand in the account's own direction: a wallet, whose normal side is credit, shows +500000 after a deposit of
500000. Accounts without a running balance are spread over ``slots_of(dialect)`` rows, one per worker, and summed when
read.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    column,
    table,
    text,
)

from hub.ledger.model import ACCOUNT_CODE_MAX, REFERENCE_MAX
from hub.money import AMOUNT_MINOR_MAX, MONEY_MINOR_MAX
from hub.store.metadata import metadata
from hub.store.sequences import define_sequence
from hub.store.types import BigInt, Json, UtcTime

SLOTS_POSTGRESQL = 8
SLOTS_SQLITE = 1
MOVES_PER_ENTRY_MAX = 1000
CURRENCY_MAX = 12
KIND_MAX = 100

accounts_seq = define_sequence("ledger_accounts_seq")
entries_seq = define_sequence("ledger_entries_seq")
moves_seq = define_sequence("ledger_moves_seq")


def slots_of(dialect: str) -> int:
    """How many balance rows an account without a running balance has; fixed when the account is opened."""
    return SLOTS_POSTGRESQL if dialect == "postgresql" else SLOTS_SQLITE


accounts = Table(
    "accounts",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("code", String(ACCOUNT_CODE_MAX), nullable=False, unique=True),
    Column("currency", String(CURRENCY_MAX), nullable=False),
    Column("side", String(6), nullable=False),
    Column("running", Boolean, nullable=False),
    Column("may_go_negative", Boolean, nullable=False),
    Column("opened_at", UtcTime, nullable=False),
    CheckConstraint("side IN ('debit', 'credit')", name="side"),
    CheckConstraint("running OR may_go_negative", name="only_running_has_floor"),
    CheckConstraint("length(code) > 0 AND length(currency) >= 3", name="named"),
    comment="Definitions of accounts; never changed, never deleted",
)

balances = Table(
    "balances",
    metadata,
    # No foreign key: its check would run again for each row that one transaction updates twice. The trigger on insert
    # looks for the account, and accounts are never deleted.
    Column("account_id", BigInt, nullable=False),
    Column("slot", SmallInteger, nullable=False),
    Column("balance", BigInt, nullable=False),
    Column("last_move_id", BigInt, nullable=False),
    PrimaryKeyConstraint("account_id", "slot"),
    CheckConstraint("slot >= 0", name="slot"),
    CheckConstraint(f"balance BETWEEN -{MONEY_MINOR_MAX} AND {MONEY_MINOR_MAX}", name="bounded"),
    comment="Balances in the account's own direction, changed by the moves' trigger alone",
    sqlite_with_rowid=False,
)

entries = Table(
    "entries",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("reference", String(REFERENCE_MAX), nullable=False, unique=True),
    Column("kind", String(KIND_MAX), nullable=False),
    Column("event_id", Uuid),
    Column("delivery_id", BigInt),
    Column("reverses", BigInt),
    Column("reverses_fully", Boolean, nullable=False),
    Column("hold_id", BigInt),
    Column("move_count", SmallInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("data", Json),
    Column("posted_at", UtcTime, nullable=False),
    CheckConstraint(f"move_count BETWEEN 1 AND {MOVES_PER_ENTRY_MAX}", name="has_moves"),
    CheckConstraint("reverses IS NOT NULL OR NOT reverses_fully", name="reversal_names_entry"),
    CheckConstraint("id > 0 AND length(reference) > 0", name="named"),
    # Where foreign keys are on, SQLite refuses the commit of an entry whose last move is missing.
    ForeignKeyConstraint(
        ["id", "move_count"],
        ["moves.entry_id", "moves.position"],
        name="fk_entries_last_move",
        deferrable=True,
        initially="DEFERRED",
    ).ddl_if(dialect="sqlite"),
    Index("ix_entries_event_id", "event_id"),
    Index("ix_entries_reverses", "reverses", postgresql_where=text("reverses IS NOT NULL")),
    Index("ix_entries_hold_id", "hold_id", postgresql_where=text("hold_id IS NOT NULL")),
    Index(
        "uq_entries_full_reversal",
        "reverses",
        unique=True,
        postgresql_where=text("reverses_fully"),
        sqlite_where=text("reverses_fully"),
    ),
    comment="One business fact each; never changed, never deleted",
)

moves = Table(
    "moves",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("entry_id", BigInt, nullable=False),
    Column("position", SmallInteger, nullable=False),
    Column("debit_account", BigInt, nullable=False),
    Column("debit_slot", SmallInteger, nullable=False),
    Column("debit_after", BigInt),
    Column("credit_account", BigInt, nullable=False),
    Column("credit_slot", SmallInteger, nullable=False),
    Column("credit_after", BigInt),
    Column("amount", BigInt, nullable=False),
    Column("currency", String(CURRENCY_MAX), nullable=False),
    CheckConstraint(f"amount BETWEEN 1 AND {AMOUNT_MINOR_MAX}", name="amount"),
    CheckConstraint("debit_account <> credit_account", name="two_accounts"),
    CheckConstraint("position >= 1", name="position"),
    Index("uq_moves_entry_id_position", "entry_id", "position", unique=True),
    Index("ix_moves_debit_account_entry_id", "debit_account", "entry_id"),
    Index("ix_moves_credit_account_entry_id", "credit_account", "entry_id"),
    comment="Money from one account to another; never changed, never deleted. debit_after = running balance after it",
)

holds = Table(
    "holds",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("reference", String(REFERENCE_MAX), nullable=False, unique=True),
    Column("account_id", BigInt, ForeignKey(accounts.c.id), nullable=False),
    Column("held_account_id", BigInt, ForeignKey(accounts.c.id), nullable=False),
    Column("amount", BigInt, nullable=False),
    Column("currency", String(CURRENCY_MAX), nullable=False),
    Column("captured", BigInt, nullable=False),
    Column("released", BigInt, nullable=False),
    Column("state", String(8), nullable=False),
    Column("expires_at", UtcTime),
    Column("last_entry_id", BigInt, nullable=False),
    Column("opened_at", UtcTime, nullable=False),
    Column("closed_at", UtcTime),
    CheckConstraint("amount > 0 AND captured >= 0 AND released >= 0", name="positive"),
    CheckConstraint("captured + released <= amount", name="within_amount"),
    CheckConstraint("(state = 'open') = (captured + released < amount)", name="open_while_something_remains"),
    CheckConstraint("state IN ('open', 'captured', 'voided', 'expired')", name="state"),
    CheckConstraint("(state IN ('open', 'captured')) = (released = 0)", name="released_when_given_back"),
    CheckConstraint("(state = 'open') = (closed_at IS NULL)", name="closed_at"),
    Index("ix_holds_account_id", "account_id"),
    Index("ix_holds_held_account_id", "held_account_id"),
    Index(
        "ix_holds_expires_at",
        "expires_at",
        postgresql_where=text("state = 'open' AND expires_at IS NOT NULL"),
        sqlite_where=text("state = 'open' AND expires_at IS NOT NULL"),
    ),
    comment="Money set aside: id = the entry that moved it to the held account",
)

TABLES: tuple[Table, ...] = (accounts, balances, moves, entries, holds)

postings = table(
    "postings",
    column("move_id", BigInt),
    column("entry_id", BigInt),
    column("position", Integer),
    column("account_id", BigInt),
    column("slot", Integer),
    column("side", String),
    column("amount", BigInt),
    column("delta", BigInt),
    column("balance_before", BigInt),
    column("balance_after", BigInt),
    column("currency", String),
)
"""The view: two rows for each move. ``delta`` is in the account's own direction, positive raises its balance."""
