from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.money import MONEY_MINOR_MAX, MixedCurrenciesError, Money, MoneyError, register_unit, scale_of

CURRENCIES = ["VND", "JPY", "USD", "BONUS", "POINT"]
amounts = st.integers(min_value=-MONEY_MINOR_MAX, max_value=MONEY_MINOR_MAX)


@pytest.mark.parametrize(
    ("currency", "scale"), [("VND", 0), ("JPY", 0), ("USD", 2), ("KWD", 3), ("BONUS", 4), ("POINT", 0)]
)
def test_each_currency_has_its_own_scale(currency: str, scale: int) -> None:
    assert scale_of(currency) == scale


@pytest.mark.parametrize(
    ("value", "currency", "minor"),
    [
        ("500000", "VND", 500000),
        ("500000.00", "VND", 500000),
        (500000, "VND", 500000),
        (Decimal("5E+5"), "VND", 500000),
        ("12.5", "USD", 1250),
        ("-0.01", "USD", -1),
        ("+3", "JPY", 3),
        ("0.0001", "BONUS", 1),
        (Decimal("1.50000"), "BONUS", 15000),
    ],
)
def test_a_decimal_becomes_minor_units(value: str | int | Decimal, currency: str, minor: int) -> None:
    assert Money.parse(value, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    ("value", "currency"),
    [
        ("0.5", "VND"),
        ("1.005", "USD"),
        ("0.00001", "BONUS"),
        (Decimal("0.1"), "JPY"),
        ("1e3", "VND"),
        ("1,000", "VND"),
        (" 1", "VND"),
        ("1 ", "VND"),
        ("1\n", "VND"),
        ("١٢", "VND"),
        ("", "VND"),
        (".5", "USD"),
        ("5.", "USD"),
        ("NaN", "USD"),
        (Decimal("NaN"), "USD"),
        (Decimal("Infinity"), "USD"),
        (Decimal("1E+999999999"), "VND"),
        (Decimal("1E-999999999"), "VND"),
        (Decimal("1." + "0" * 100_000), "VND"),
        ("9" * 19, "VND"),
        (10**30, "VND"),
        ("1", "XQQ"),
        ("1", "vnd"),
    ],
)
def test_what_is_not_an_amount_of_the_currency_is_refused(value: str | int | Decimal, currency: str) -> None:
    with pytest.raises(MoneyError):
        Money.parse(value, currency)


@pytest.mark.parametrize("value", [1.0, True, None, b"1"])
def test_a_float_or_a_bool_is_never_an_amount(value: object) -> None:
    with pytest.raises(MoneyError):
        Money.parse(value, "VND")  # type: ignore[arg-type]
    with pytest.raises(MoneyError):
        Money(value, "VND")  # type: ignore[arg-type]


def test_two_currencies_never_mix() -> None:
    dong, yen = Money(1, "VND"), Money(1, "JPY")

    for operation in (
        lambda: dong + yen,
        lambda: dong - yen,
        lambda: dong < yen,
        lambda: dong <= yen,
        lambda: dong > yen,
        lambda: dong >= yen,
    ):
        with pytest.raises(MixedCurrenciesError):
            operation()
    assert dong != yen


def test_a_sum_out_of_bounds_is_refused() -> None:
    with pytest.raises(MoneyError):
        Money(MONEY_MINOR_MAX, "VND") + Money(1, "VND")


def test_money_is_multiplied_by_whole_numbers_only() -> None:
    assert Money(250, "USD") * 3 == Money(750, "USD")
    with pytest.raises(MoneyError):
        Money(250, "USD") * 1.5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("money", "written"),
    [
        (Money(1234567, "VND"), "1,234,567 VND"),
        (Money(-1234567, "USD"), "-12,345.67 USD"),
        (Money(5, "BONUS"), "0.0005 BONUS"),
    ],
)
def test_money_is_written_for_people(money: Money, written: str) -> None:
    assert money.format() == written


def test_a_unit_of_ours_never_takes_the_code_of_a_currency() -> None:
    for code, scale in (("USD", 3), ("points", 0), ("MILES", 9)):
        with pytest.raises(MoneyError):
            register_unit(code, scale)

    register_unit("MILES", 1)

    assert Money.parse("1.5", "MILES") == Money(15, "MILES")


@given(amounts, st.sampled_from(CURRENCIES))
def test_what_is_written_is_read_back_the_same(minor: int, currency: str) -> None:
    money = Money(minor, currency)

    assert Money.parse(money.decimal, currency) == money
    assert Money.parse(str(money).split()[0], currency) == money
    assert Money.parse(money.format().split()[0].replace(",", ""), currency) == money


@given(amounts, amounts)
def test_order_is_that_of_the_amounts(left: int, right: int) -> None:
    a, b = Money(left, "VND"), Money(right, "VND")

    assert (a < b, a <= b, a > b, a >= b) == (left < right, left <= right, left > right, left >= right)
