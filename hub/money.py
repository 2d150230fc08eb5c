"""Money: a whole number of a currency's smallest unit, and the one place where decimal text becomes such a number.

A currency's scale (digits after the point) is that of ISO 4217 as CLDR gives it, or of a unit registered here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import babel.core
from babel.numbers import get_currency_precision, list_currencies

from hub.errors import PermanentError

AMOUNT_MINOR_MAX = 10**15
"""The largest amount that one move may carry, in minor units."""

MONEY_MINOR_MAX = 10**18
"""The largest sum or balance; 64 bits hold nine of it, so no addition of two can overflow in a database."""

DECIMAL_TEXT_MAX = 40
SCALE_MAX = 8

_DECIMAL_TEXT = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
_UNIT_CODE = re.compile(r"[A-Z][A-Z0-9]{2,11}", re.ASCII)
_units: dict[str, int] = {"BONUS": 4, "POINT": 0}


def _iso_scales() -> dict[str, int]:
    scales = {code: get_currency_precision(code) for code in list_currencies()}
    # Babel keeps all that it knows of all languages, 3 MB in every process; asked again, it reads it again.
    babel.core._global_data = None
    return scales


_ISO_SCALES: Final = _iso_scales()


class MoneyError(PermanentError):
    """This is not an amount of that currency: an unknown code, too many digits, out of bounds, not a number."""


class MixedCurrenciesError(MoneyError):
    """Amounts of two currencies were added, subtracted or compared."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(f"{left} and {right} do not mix")
        self.left = left
        self.right = right


def register_unit(code: str, scale: int) -> None:
    """Give a unit of our own (points, bonuses) its digits after the point; call it at start only.

    Stored amounts are in minor units: changing the scale of a unit that has balances changes what they are worth.
    Raises MoneyError for an ISO 4217 code, an ill-formed code or a scale outside 0..``SCALE_MAX``.
    """
    if not _UNIT_CODE.fullmatch(code) or code in _ISO_SCALES:
        raise MoneyError(f"{code!r} cannot be the code of a unit: 3 to 12 capitals and digits, no ISO 4217 code")
    if not 0 <= scale <= SCALE_MAX:
        raise MoneyError(f"the scale of {code} must be from 0 to {SCALE_MAX}, found {scale}")
    _units[code] = scale


def scale_of(currency: str) -> int:
    """How many digits after the point the currency has: VND 0, JPY 0, USD 2, BONUS 4. Raises MoneyError."""
    scale = _ISO_SCALES.get(currency)
    if scale is None:
        scale = _units.get(currency)
    if scale is None:
        raise MoneyError(f"unknown currency {currency[:20]!r}")
    return scale


@dataclass(frozen=True, slots=True)
class Money:
    """``amount_minor`` of the smallest unit of ``currency``, possibly negative.

    Two currencies never mix: arithmetic and order raise MixedCurrenciesError. Raises MoneyError where the amount is
    not a whole number within ``MONEY_MINOR_MAX`` or the currency is unknown.
    """

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        # bool is an int to Python; True dong is a mistake.
        if type(self.amount_minor) is not int:
            raise MoneyError(f"an amount is a whole number of minor units, found {type(self.amount_minor).__name__}")
        if not -MONEY_MINOR_MAX <= self.amount_minor <= MONEY_MINOR_MAX:
            raise MoneyError(f"an amount of {self.currency} is out of bounds")
        scale_of(self.currency)

    @classmethod
    def zero(cls, currency: str) -> Money:
        return cls(0, currency)

    @classmethod
    def parse(cls, value: str | int | Decimal, currency: str) -> Money:
        """The amount that a decimal in whole units says: ``parse("12.50", "USD")`` is 1250 cents.

        Refuses what does not fit the scale (0.5 dong), exponents in text, NaN and anything out of bounds; zeros
        beyond the scale are fine ("500000.00" dong). Raises MoneyError.
        """
        scale = scale_of(currency)
        number = _decimal(value)
        # A huge exponent would build a number of that many digits: look at the size before computing with it.
        if number and not -DECIMAL_TEXT_MAX <= number.adjusted() <= DECIMAL_TEXT_MAX:
            raise MoneyError(f"an amount of {currency} is out of bounds")
        numerator, denominator = number.as_integer_ratio()
        minor, rest = divmod(numerator * 10**scale, denominator)
        if rest:
            raise MoneyError(f"{currency} has {scale} digits after the point, found more")
        return cls(minor, currency)

    @property
    def decimal(self) -> Decimal:
        """The amount in whole units, with all digits of the scale."""
        # From text and not by scaleb(): the context's precision must never round an amount.
        sign, digits = ("-" if self.amount_minor < 0 else ""), str(abs(self.amount_minor))
        return Decimal(f"{sign}{digits}E-{scale_of(self.currency)}")

    def format(self) -> str:
        """For people: ``1,234.50 USD``."""
        return f"{self.decimal:,f} {self.currency}"

    def __str__(self) -> str:
        return f"{self.decimal:f} {self.currency}"

    def __bool__(self) -> bool:
        return self.amount_minor != 0

    def __add__(self, other: Money) -> Money:
        return Money(self.amount_minor + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount_minor - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount_minor, self.currency)

    def __abs__(self) -> Money:
        return Money(abs(self.amount_minor), self.currency)

    def __mul__(self, factor: int) -> Money:
        if type(factor) is not int:
            raise MoneyError(f"money is multiplied by a whole number, found {type(factor).__name__}")
        return Money(self.amount_minor * factor, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.amount_minor < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.amount_minor <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.amount_minor > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.amount_minor >= self._same(other)

    def _same(self, other: Money) -> int:
        if not isinstance(other, Money):
            raise MoneyError(f"money goes with money, found {type(other).__name__}")
        if other.currency != self.currency:
            raise MixedCurrenciesError(self.currency, other.currency)
        return other.amount_minor


def _decimal(value: str | int | Decimal) -> Decimal:
    if isinstance(value, str):
        if len(value) > DECIMAL_TEXT_MAX or not _DECIMAL_TEXT.fullmatch(value):
            raise MoneyError("an amount is written as digits with at most one point")
        return Decimal(value)
    if isinstance(value, Decimal) and value.is_finite() and len(value.as_tuple().digits) <= DECIMAL_TEXT_MAX:
        return value
    if type(value) is int and abs(value) <= MONEY_MINOR_MAX:
        return Decimal(value)
    raise MoneyError(f"an amount is decimal text, a Decimal or a whole number in bounds, found {type(value).__name__}")
