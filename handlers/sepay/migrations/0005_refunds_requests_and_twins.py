"""Refunds and request ids of orders, both names of a transfer as columns, payments that refer to their orders.

The view of webhooks also shows what is parked; it is made anew with the others.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from handlers.sepay.table_views import VIEWS, create_statements
from hub.store.types import UtcTime

revision = "0005"
down_revision = "0004"

REFERRING = ("pay_payment_intents", "pay_payments")


def upgrade() -> None:
    conn = op.get_bind()
    for name in reversed(VIEWS):
        conn.exec_driver_sql(f"DROP VIEW {name}")
    conn.exec_driver_sql(
        "ALTER TABLE pay_symbol_orders ADD COLUMN refunded BIGINT DEFAULT 0 NOT NULL"
        " CONSTRAINT ck_pay_symbol_orders_refunded CHECK (refunded >= 0 AND refunded <= total_amount)"
    )
    op.add_column("pay_symbol_orders", sa.Column("paid_at", UtcTime()))
    conn.exec_driver_sql("UPDATE pay_symbol_orders SET paid_at = updated_at WHERE status = 'paid'")
    op.add_column("pay_symbol_orders", sa.Column("request_id", sa.String(length=255)))
    op.create_index("uq_pay_symbol_orders_request_id", "pay_symbol_orders", ["user_id", "request_id"], unique=True)
    op.add_column("pay_bank_transactions", sa.Column("webhook_id", sa.BigInteger()))
    _copy_webhook_ids(conn)
    op.create_index("ix_pay_bank_transactions_webhook_id", "pay_bank_transactions", ["webhook_id"])
    op.create_index("ix_pay_bank_transactions_provider_uuid", "pay_bank_transactions", ["provider_uuid"])
    op.create_index(
        "ix_pay_bank_transactions_unbooked",
        "pay_bank_transactions",
        ["created_at"],
        postgresql_where=sa.text("outcome = 'account_mismatch'"),
        sqlite_where=sa.text("outcome = 'account_mismatch'"),
    )
    _refer_to_orders(conn)
    for statement in create_statements(conn.dialect.name):
        conn.exec_driver_sql(statement)


def _copy_webhook_ids(conn: sa.Connection) -> None:
    member = "(metadata ->> 'webhook_id')" if conn.dialect.name == "postgresql" else "metadata ->> '$.webhook_id'"
    conn.exec_driver_sql(
        f"UPDATE pay_bank_transactions SET webhook_id = CAST({member} AS bigint) WHERE {member} IS NOT NULL"  # noqa: S608
    )


def _refer_to_orders(conn: sa.Connection) -> None:
    if conn.dialect.name == "postgresql":
        for table in REFERRING:
            op.create_foreign_key(f"fk_{table}_order_id", table, "pay_symbol_orders", ["order_id"], ["order_id"])
        return
    # SQLite has no statement for it; this is the way that its manual gives (ALTER TABLE, "Making Other Kinds Of Table
    # Schema Changes"). A table made anew would need its own references switched off, which no transaction can do.
    version = conn.exec_driver_sql("PRAGMA schema_version").scalar_one()
    conn.exec_driver_sql("PRAGMA writable_schema = ON")
    for table in REFERRING:
        key = f"CONSTRAINT pk_{table} PRIMARY KEY"
        reference = f"CONSTRAINT fk_{table}_order_id FOREIGN KEY(order_id) REFERENCES pay_symbol_orders (order_id)"
        conn.exec_driver_sql(
            "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = ?",
            (key, f"{reference}, {key}", table),
        )
    conn.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    conn.exec_driver_sql("PRAGMA writable_schema = OFF")
