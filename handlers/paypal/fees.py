"""What PayPal's price list says that a payment costs. Never a posting: what PayPal really kept is in its events.

Source: PayPal, merchant fees for Taiwan (31 May 2021): 4.40 % and a fixed part by currency, payments from abroad.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

from hub.money import Money, MoneyError

UNUSUAL_SHARE: Final = Decimal("0.20")
"""A fee that is further from the estimate than this share of it is told."""


@lru_cache(maxsize=16)
def fixed_fees(text: str) -> Mapping[str, Money]:
    """``USD=0.30,TWD=10`` by currency. Raises ValueError."""
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        currency, equals, value = part.partition("=")
        try:
            found[currency] = Money.parse(value, currency)
        except MoneyError as error:
            raise ValueError(f"HUB_PAYPAL_FEE_FIXED: expected CURRENCY=AMOUNT, found {part!r}") from error
        if not equals or found[currency].amount_minor < 0:
            raise ValueError(f"HUB_PAYPAL_FEE_FIXED: expected CURRENCY=AMOUNT, found {part!r}")
    return found


def estimate(gross: Money, *, share: Decimal, fixed: Mapping[str, Money]) -> Money | None:
    """The fee by the price list, never more than the payment; None where the list has no such currency."""
    part = fixed.get(gross.currency)
    if part is None:
        return None
    try:
        variable = int((gross.amount_minor * share).to_integral_value(ROUND_HALF_UP))
    except InvalidOperation:  # beyond any payment
        return None
    return min(Money(variable + part.amount_minor, gross.currency), gross)


def is_unusual(fee: Money, expected: Money) -> bool:
    """Whether PayPal kept more than a fifth more, or less, than its price list says."""
    return abs(fee - expected).amount_minor > UNUSUAL_SHARE * expected.amount_minor
