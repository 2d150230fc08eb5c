"""What is sold and what was ordered: the catalogue, orders and their items.

Amounts are whole dong; ids are UUIDs except the shop's own number of a symbol. Whoever locks several rows takes them in
the order bank transaction, intent, order, wallet, licence, subscription; the wallet's row stands for its user, so that
everything that changes what a user owns happens one after the other. Source: docs/providers/sepay-orders.md, "Tables".
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from handlers.sepay.tables import Base

WALLET: Final = "wallet"
SEPAY_TRANSFER: Final = "sepay_transfer"
PAYMENT_METHODS: Final = (WALLET, SEPAY_TRANSFER)

PENDING_PAYMENT: Final = "pending_payment"
PAID: Final = "paid"
ORDER_FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
REFUNDED: Final = "refunded"
ORDER_STATUSES: Final = (PENDING_PAYMENT, PAID, ORDER_FAILED, CANCELLED, REFUNDED)

LIFETIME: Final = 0
"""``pay_symbols.license_days`` of an offer without an end: a key holds no null."""


class PaySymbol(Base):
    """One offer of the catalogue: what a licence of ``license_days`` days for a symbol costs (0 = for ever)."""

    __tablename__ = "pay_symbols"
    __table_args__ = (
        CheckConstraint("price > 0", name="price"),
        CheckConstraint("license_days >= 0", name="license_days"),
        CheckConstraint("symbol_id > 0", name="symbol_id"),
    )

    symbol_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    license_days: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(255))
    price_minor: Mapped[int] = mapped_column("price", BigInteger)
    active: Mapped[bool] = mapped_column(Boolean)
    updated_at: Mapped[datetime]


class PaySymbolOrder(Base):
    """Somebody wants licences. ``payment_intent_id`` is the latest intent only; transfers find it by the intent.

    ``refunded_minor`` is what the user got back of it; ``request_id`` the user's own name of the order, by which a
    repeat is known.
    """

    __tablename__ = "pay_symbol_orders"
    __table_args__ = (
        Index("uq_pay_symbol_orders_request_id", "user_id", "request_id", unique=True),
        Index(None, "user_id", "status"),
        Index(None, "user_id", "created_at"),
        Index(None, "created_at"),
        CheckConstraint("total_amount > 0", name="total_amount"),
        CheckConstraint(f"status IN {ORDER_STATUSES!r}", name="status"),
        CheckConstraint(f"payment_method IN {PAYMENT_METHODS!r}", name="payment_method"),
        CheckConstraint("refunded >= 0 AND refunded <= total_amount", name="refunded"),
    )

    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    total_minor: Mapped[int] = mapped_column("total_amount", BigInteger)
    status: Mapped[str] = mapped_column(String(20))
    payment_method: Mapped[str] = mapped_column(String(20))
    description: Mapped[str | None] = mapped_column(Text)
    payment_intent_id: Mapped[UUID | None] = mapped_column(ForeignKey("pay_payment_intents.intent_id"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    paid_at: Mapped[datetime | None]
    refunded_minor: Mapped[int] = mapped_column("refunded", BigInteger, default=0, server_default=text("0"))
    request_id: Mapped[str | None] = mapped_column(String(255))

    @property
    def is_payable(self) -> bool:
        return self.status == PENDING_PAYMENT


class PaySymbolOrderItem(Base):
    """One line of an order: a licence for ``license_days`` days (None = for ever), and whether it renews itself."""

    __tablename__ = "pay_symbol_order_items"
    __table_args__ = (
        Index(None, "order_id"),
        CheckConstraint("price > 0", name="price"),
        CheckConstraint("license_days > 0", name="license_days"),
        CheckConstraint("auto_renew_price > 0", name="auto_renew_price"),
        CheckConstraint("cycle_days_override > 0", name="cycle_days_override"),
        CheckConstraint("position >= 1", name="position"),
    )

    order_item_id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID] = mapped_column(ForeignKey("pay_symbol_orders.order_id"))
    position: Mapped[int]
    symbol_id: Mapped[int] = mapped_column(BigInteger)
    price_minor: Mapped[int] = mapped_column("price", BigInteger)
    license_days: Mapped[int | None]
    auto_renew: Mapped[bool] = mapped_column(Boolean)
    auto_renew_price_minor: Mapped[int | None] = mapped_column("auto_renew_price", BigInteger)
    cycle_days_override: Mapped[int | None]
    details: Mapped[dict[str, Any]] = mapped_column("metadata")
