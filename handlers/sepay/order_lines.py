"""The lines of an order, read strictly and held to the catalogue's prices.

Source: docs/providers/sepay-orders.md, "Prices" and "Errors".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from handlers.sepay.catalogue import Catalogue
from handlers.sepay.limits import check_metadata, is_whole
from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables_orders import PAYMENT_METHODS
from hub.errors import RefusedCommand
from schemas.sepay_orders import DAYS_MAX, ITEMS_MAX, PRICE_MAX, SYMBOL_ID_MAX, OrderItem, OrderRequested

CYCLE_DAYS_DEFAULT: Final = 30
"""How long a renewed licence lasts when neither the order nor the licence says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One licence that is to be bought; amounts are whole dong, ``license_days`` None = for ever."""

    symbol_id: int
    price_minor: int
    license_days: int | None
    metadata: dict[str, Any]
    auto_renew: bool
    renew_price_minor: int | None
    renew_days: int | None


def cycle_days_of(license_days: int | None, override: int | None) -> int:
    """How many days a renewal adds."""
    return override or license_days or CYCLE_DAYS_DEFAULT


def payment_method_of(request: OrderRequested) -> str:
    """Raises RefusedCommand (invalid_payment_method)."""
    if request.payment_method not in PAYMENT_METHODS:
        raise RefusedCommand("invalid_payment_method", f"payment_method must be one of {', '.join(PAYMENT_METHODS)}")
    return request.payment_method


def read_lines(items: Sequence[OrderItem]) -> list[OrderLine]:
    """Raises RefusedCommand (empty_order, invalid_item); it names the item by its place, from 0."""
    if not items:
        raise RefusedCommand("empty_order", "An order needs at least one item")
    if len(items) > ITEMS_MAX:
        raise RefusedCommand("invalid_request", f"An order has at most {ITEMS_MAX} items")
    return [_read(place, item) for place, item in enumerate(items)]


def check_prices(lines: Sequence[OrderLine], catalogue: Catalogue, settings: SepaySettings) -> None:
    """Refuse what is not sold, or not at this price. Raises RefusedCommand (symbol_not_found, price_mismatch).

    A client names its own price, also that of later renewals; the catalogue decides.
    """
    for line in lines:
        if not catalogue.sells(line.symbol_id):
            raise RefusedCommand("symbol_not_found", f"Symbol {line.symbol_id} is not sold")
        if settings.trust_client_price:
            continue
        if catalogue.prices.get((line.symbol_id, line.license_days)) != line.price_minor:
            raise RefusedCommand(
                "price_mismatch", f"The price of symbol {line.symbol_id} is not {line.price_minor:,} VND"
            )
        if line.auto_renew and line.license_days is not None:
            _check_renewal(line, catalogue)


def _check_renewal(line: OrderLine, catalogue: Catalogue) -> None:
    days = cycle_days_of(line.license_days, line.renew_days)
    price = line.renew_price_minor or line.price_minor
    if catalogue.prices.get((line.symbol_id, days)) != price:
        raise RefusedCommand(
            "price_mismatch", f"The price of renewing symbol {line.symbol_id} for {days} days is not {price:,} VND"
        )


def _read(place: int, item: OrderItem) -> OrderLine:
    symbol_id, price = item.symbol_id, item.price
    if not is_whole(symbol_id, most=SYMBOL_ID_MAX):
        raise _invalid(place, "symbol_id must be a whole number above 0")
    if not is_whole(price):
        raise _invalid(place, "price must be a whole number of dong above 0")
    return OrderLine(
        symbol_id=symbol_id,
        price_minor=price,
        license_days=_optional(place, "license_days", item.license_days, DAYS_MAX),
        metadata=check_metadata(item.metadata, code="invalid_item"),
        auto_renew=item.auto_renew,
        renew_price_minor=_optional(place, "auto_renew_price", item.auto_renew_price),
        renew_days=_optional(place, "auto_renew_cycle_days", item.auto_renew_cycle_days, DAYS_MAX),
    )


def _optional(place: int, name: str, value: object, most: int = PRICE_MAX) -> int | None:
    if value is None:
        return None
    if not is_whole(value, most=most):
        raise _invalid(place, f"{name} must be a whole number above 0, or null")
    return value


def _invalid(place: int, problem: str) -> RefusedCommand:
    return RefusedCommand("invalid_item", f"items.{place}: {problem}")
