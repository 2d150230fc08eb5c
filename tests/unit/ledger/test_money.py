from __future__ import annotations

from decimal import Decimal

import pytest
from babel.numbers import get_currency_precision
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


def test_what_the_scales_were_read_from_can_be_read_again() -> None:
    """It was forgotten to spare memory; whoever formats for people asks for it."""
    assert get_currency_precision("JPY") == 0


NOT_WRITTEN = "an amount is written as digits with at most one point"
NOT_A_NUMBER = "an amount is decimal text, a Decimal or a whole number in bounds, found "


@pytest.mark.parametrize(
    ("value", "currency", "words"),
    [
        ("0.5", "VND", "VND has 0 digits after the point, found more"),
        ("1.005", "USD", "USD has 2 digits after the point, found more"),
        ("0.00001", "BONUS", "BONUS has 4 digits after the point, found more"),
        (Decimal("0.1"), "JPY", "JPY has 0 digits after the point, found more"),
        (Decimal("1E-40"), "VND", "VND has 0 digits after the point, found more"),
        ("1e3", "VND", NOT_WRITTEN),
        ("1,000", "VND", NOT_WRITTEN),
        (" 1", "VND", NOT_WRITTEN),
        ("1 ", "VND", NOT_WRITTEN),
        ("1\n", "VND", NOT_WRITTEN),
        ("١٢", "VND", NOT_WRITTEN),
        ("", "VND", NOT_WRITTEN),
        (".5", "USD", NOT_WRITTEN),
        ("5.", "USD", NOT_WRITTEN),
        ("NaN", "USD", NOT_WRITTEN),
        ("0" * 40 + "1", "VND", NOT_WRITTEN),
        (Decimal("NaN"), "USD", f"{NOT_A_NUMBER}Decimal"),
        (Decimal("Infinity"), "USD", f"{NOT_A_NUMBER}Decimal"),
        (Decimal("1." + "0" * 40), "VND", f"{NOT_A_NUMBER}Decimal"),
        (Decimal("1." + "0" * 100_000), "VND", f"{NOT_A_NUMBER}Decimal"),
        (10**18 + 1, "VND", f"{NOT_A_NUMBER}int"),
        (-(10**18) - 1, "VND", f"{NOT_A_NUMBER}int"),
        (Decimal("1E+41"), "VND", "an amount of VND is out of bounds"),
        (Decimal("1E+999999999"), "VND", "an amount of VND is out of bounds"),
        (Decimal("1E-41"), "VND", "an amount of VND is out of bounds"),
        (Decimal("1E-999999999"), "VND", "an amount of VND is out of bounds"),
        ("9" * 19, "VND", "an amount of VND is out of bounds"),
        ("1", "XQQ", "unknown currency 'XQQ'"),
        ("1", "vnd", "unknown currency 'vnd'"),
        ("1", "X" * 30, f"unknown currency '{'X' * 20}'"),
    ],
)
def test_what_is_not_an_amount_of_the_currency_is_refused_with_what_is_wrong(
    value: str | int | Decimal, currency: str, words: str
) -> None:
    with pytest.raises(MoneyError) as refused:
        Money.parse(value, currency)

    assert str(refused.value) == words


@pytest.mark.parametrize(
    "value", ["0" * 39 + "1", Decimal("1." + "0" * 39), Decimal("1E+0"), 1], ids=["text", "Decimal", "power", "int"]
)
def test_as_many_digits_as_fit_are_read(value: str | int | Decimal) -> None:
    assert Money.parse(value, "VND") == Money(1, "VND")


@pytest.mark.parametrize("bound", [MONEY_MINOR_MAX, -MONEY_MINOR_MAX])
def test_an_amount_is_within_its_bounds(bound: int) -> None:
    assert Money.parse(bound, "VND") == Money(bound, "VND")
    with pytest.raises(MoneyError, match=r"^an amount of VND is out of bounds$"):
        Money(bound + (1 if bound > 0 else -1), "VND")


@pytest.mark.parametrize("value", [1.0, True, None, b"1"])
def test_a_float_or_a_bool_is_never_an_amount(value: object) -> None:
    kind = type(value).__name__

    with pytest.raises(MoneyError, match=rf"^{NOT_A_NUMBER}{kind}$"):
        Money.parse(value, "VND")  # type: ignore[arg-type]
    with pytest.raises(MoneyError, match=rf"^an amount is a whole number of minor units, found {kind}$"):
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
        with pytest.raises(MixedCurrenciesError, match=r"^VND and JPY do not mix$") as refused:
            operation()
        assert (refused.value.left, refused.value.right) == ("VND", "JPY")
    assert dong != yen


def test_money_goes_with_money_alone() -> None:
    with pytest.raises(MoneyError, match=r"^money goes with money, found int$"):
        Money(1, "VND") + 1  # type: ignore[operator]


def test_a_sum_out_of_bounds_is_refused() -> None:
    with pytest.raises(MoneyError):
        Money(MONEY_MINOR_MAX, "VND") + Money(1, "VND")


def test_money_is_multiplied_by_whole_numbers_only() -> None:
    assert Money(250, "USD") * 3 == Money(750, "USD")
    with pytest.raises(MoneyError, match=r"^money is multiplied by a whole number, found float$"):
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
    for code in ("USD", "points", "AB", "A" * 13, "1AB", "AB-C"):
        with pytest.raises(MoneyError, match=rf"^'{code}' cannot be the code of a unit: 3 to 12 capitals and digits, "):
            register_unit(code, 0)
    for scale in (-1, 9):
        with pytest.raises(MoneyError, match=rf"^the scale of MILES must be from 0 to 8, found {scale}$"):
            register_unit("MILES", scale)

    for scale in (0, 8, 1):
        register_unit("MILES", scale)

    assert Money.parse("1.5", "MILES") == Money(15, "MILES")


@given(amounts, st.sampled_from(CURRENCIES))
def test_what_is_written_is_read_back_the_same(minor: int, currency: str) -> None:
    money = Money(minor, currency)

    assert Money.parse(money.decimal, currency) == money
    assert Money.parse(str(money).split()[0], currency) == money
    assert Money.parse(money.format().split()[0].replace(",", ""), currency) == money


@given(st.integers(-(10**17), 10**17), st.integers(-(10**17), 10**17), st.integers(-9, 9))
def test_money_is_reckoned_as_its_minor_units_are(left: int, right: int, factor: int) -> None:
    a, b = Money(left, "USD"), Money(right, "USD")

    assert a + b == Money(left + right, "USD")
    assert a - b == Money(left - right, "USD")
    assert a * factor == Money(left * factor, "USD")
    assert (-a, abs(a)) == (Money(-left, "USD"), Money(abs(left), "USD"))
    assert (bool(a), a - a) == (left != 0, Money.zero("USD"))


@given(amounts, amounts)
def test_order_is_that_of_the_amounts(left: int, right: int) -> None:
    a, b = Money(left, "VND"), Money(right, "VND")

    assert (a < b, a <= b, a > b, a >= b) == (left < right, left <= right, left > right, left >= right)
