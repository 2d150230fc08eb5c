"""The wallet ledger and the received webhooks in the shape that operators of the payment module query.

Views over the hub's own tables: there is no second copy of any balance or event. ``pay_wallet_ledger`` has one row per
movement of a wallet, ``seq`` orders them; ``pay_sepay_webhook_events`` has one row per accepted webhook of a transfer,
or of what could not be read, its payload byte for byte. Source: docs/providers/sepay-orders.md, "Views".
"""

# ruff: noqa: S608 - these texts are put together from constants
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, MetaData, Table, event

from handlers.sepay.tables import metadata

WALLET_PREFIX: Final = "sepay:wallet:"
VIEWS: Final = ("pay_wallet_balances", "pay_wallet_ledger", "pay_sepay_webhook_events")
FINAL_OUTCOMES: Final = (
    *("credited", "order_paid", "credited_and_order_paid", "ignored_out", "ignored_duplicate"),
    *("already_processed", "refunded", "test_ping"),
)
"""After these nobody has to look at a transfer."""
_ID_AT: Final = len(WALLET_PREFIX) + 1


def create_statements(dialect: str) -> tuple[str, ...]:
    """The views, to be created once the tables of this capability and of the hub exist."""
    return tuple(
        f"CREATE VIEW {name} AS {query}"
        for name, query in zip(VIEWS, (_balances(dialect), _ledger(dialect), _webhook_events(dialect)), strict=True)
    )


def _uuid(dialect: str, text: str) -> str:
    # SQLite keeps a UUID as 32 characters without dashes.
    return f"CAST({text} AS uuid)" if dialect == "postgresql" else f"replace({text}, '-', '')"


def _member(dialect: str, name: str) -> str:
    return f"(e.data ->> '{name}')" if dialect == "postgresql" else f"json_extract(e.data, '$.{name}')"


def _balances(dialect: str) -> str:
    code = "'" + WALLET_PREFIX + "' || CAST(w.id AS text)"
    if dialect != "postgresql":
        parts = "substr(w.id, 1, 8) || '-' || substr(w.id, 9, 4) || '-' || substr(w.id, 13, 4)"
        code = f"'{WALLET_PREFIX}' || {parts} || '-' || substr(w.id, 17, 4) || '-' || substr(w.id, 21)"
    return (
        "SELECT w.id, w.user_id, coalesce(b.balance, 0) AS balance, w.currency, w.status, w.created_at, w.updated_at"
        f" FROM pay_wallets w LEFT JOIN accounts a ON a.code = {code}"
        " LEFT JOIN balances b ON b.account_id = a.id AND b.slot = 0"
    )


def _ledger(dialect: str) -> str:
    ids = ", ".join(f"{_uuid(dialect, _member(dialect, name))} AS {name}" for name in ("order_id", "payment_id"))
    return (
        f"SELECT {_uuid(dialect, _member(dialect, 'ledger_id'))} AS ledger_id, p.move_id AS seq,"
        f" {_uuid(dialect, f'substr(a.code, {_ID_AT})')} AS wallet_id, e.kind AS tx_type, p.amount,"
        f" p.delta > 0 AS is_credit, p.balance_before, p.balance_after, {ids}, e.note, e.data AS metadata,"
        " e.posted_at AS created_at FROM postings p JOIN accounts a ON a.id = p.account_id"
        f" JOIN entries e ON e.id = p.entry_id WHERE a.code LIKE '{WALLET_PREFIX}%'"
    )


def _webhook_events(dialect: str) -> str:
    # The identity of a transfer is its number. What has none is a test delivery, which stands for no money, or could
    # not be read: that one is shown without a number.
    if dialect == "postgresql":
        is_number, number = "i.dedupe_id ~ '^[0-9]+$'", "CAST(i.dedupe_id AS bigint)"
        address = "(i.headers ->> 'sender-address')"
    else:
        is_number, number = "i.dedupe_id NOT GLOB '*[^0-9]*'", "CAST(i.dedupe_id AS integer)"
        address = "json_extract(i.headers, '$.\"sender-address\"')"
    # Other sources have other ids, and a database may try the number before it looks at the source.
    number = f"CASE WHEN i.source = 'sepay' AND {is_number} THEN {number} END"
    in_words = ", ".join(f"'{outcome}'" for outcome in FINAL_OUTCOMES)
    # Done, given up, or decided by a person who left no money in suspense.
    processed = (
        f"(coalesce(b.outcome, d.outcome, '') IN ({in_words}) OR coalesce(d.state, '') = 'discarded'"
        " OR (coalesce(v.state, '') = 'resolved' AND b.sepay_tx_id IS NULL))"
    )
    return (
        f"SELECT i.id AS webhook_event_id, coalesce(b.sepay_tx_id, {number}) AS sepay_tx_id, i.received_at, i.payload,"
        f" {processed} AS processed,"
        f" CASE WHEN {processed} THEN NULL ELSE coalesce(b.process_error, d.reason, v.reason, i.problem) END"
        " AS process_error, coalesce(b.outcome, d.outcome) AS outcome, coalesce(d.attempts, 0) AS attempts,"
        f" d.finished_at AS last_attempt_at, {address} AS source_ip"
        " FROM inbox i"
        " LEFT JOIN deliveries d ON d.event_seq = i.seq AND (i.problem IS NOT NULL OR d.route_id ="
        " (SELECT r.id FROM routes r WHERE r.name = 'settle-bank-transfer'))"
        " LEFT JOIN pay_bank_transactions b ON b.event_id = i.id LEFT JOIN reviews v ON v.delivery_id = d.id"
        f" WHERE i.source = 'sepay' AND coalesce({number}, 1) <> 0"
        " AND (i.dedupe_id IS NOT NULL OR i.problem IS NOT NULL OR b.sepay_tx_id IS NOT NULL)"
    )


@event.listens_for(metadata, "after_create")
def _after_create(_: MetaData, connection: Connection, *, tables: Sequence[Table] | None = None, **__: Any) -> None:
    # With checkfirst, tables that were there are not in the list: then the views are there too.
    if any(table.name == "pay_wallets" for table in tables or ()):
        for statement in create_statements(connection.dialect.name):
            connection.exec_driver_sql(statement)


@event.listens_for(metadata, "before_drop")
def _before_drop(_: MetaData, connection: Connection, **__: Any) -> None:
    for name in reversed(VIEWS):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
