"""The wallet ledger and the received webhooks in the shape that operators of the payment module query.

Views over the hub's own tables: there is no second copy of any balance or event. ``pay_wallet_ledger`` has one row per
movement of a wallet, ``seq`` orders them; ``pay_sepay_webhook_events`` has one row per accepted transfer, its payload
byte for byte. Source: docs/providers/sepay-orders.md, "Views".
"""

# ruff: noqa: S608 - these texts are put together from constants
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, MetaData, Table, event

from handlers.sepay.tables import metadata

WALLET_PREFIX: Final = "sepay:wallet:"
VIEWS: Final = ("pay_wallet_balances", "pay_wallet_ledger", "pay_sepay_webhook_events")
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
    number = "CAST(t.value AS bigint)" if dialect == "postgresql" else "CAST(t.value AS integer)"
    problems = "('credited', 'order_paid', 'credited_and_order_paid', 'ignored_out', 'ignored_duplicate',"
    problems += " 'already_processed', 'refunded', 'test_ping')"
    return (
        f"SELECT i.id AS webhook_event_id, {number} AS sepay_tx_id, i.received_at, i.payload,"
        f" coalesce(b.outcome, d.outcome, '') IN {problems} AS processed,"
        " coalesce(b.process_error, v.reason, d.reason) AS process_error, coalesce(b.outcome, d.outcome) AS outcome,"
        " d.attempts, d.finished_at AS last_attempt_at"
        " FROM inbox i JOIN tags t ON t.event_id = i.id AND t.name = 'sepay_tx_id'"
        " JOIN deliveries d ON d.event_id = i.id JOIN routes r ON r.id = d.route_id AND r.name = 'settle-bank-transfer'"
        " LEFT JOIN pay_bank_transactions b ON b.event_id = i.id LEFT JOIN reviews v ON v.delivery_id = d.id"
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
