"""Reading JSON from outside: strict, exact, and with the place of every mistake."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import jsonbody
from hub.errors import UnreadableError
from hub.jsonbody import DEPTH_MAX, NUMBER_DIGITS_MAX, parse_json, write_json


def problem(body: str | bytes) -> UnreadableError:
    with pytest.raises(UnreadableError) as caught:
        parse_json(body.encode() if isinstance(body, str) else body)
    return caught.value


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10 ** (NUMBER_DIGITS_MAX - 1)) + 1, 10**NUMBER_DIGITS_MAX - 1)
    | st.text()
    | st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12), max_value=10**12),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(values)
def test_what_is_written_is_read_again_digit_by_digit(value: object) -> None:
    assert repr(parse_json(write_json(value).encode())) == repr(value)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE+-\\utrfalsn \n', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_place(body: bytes) -> None:
    place = (1, 1)
    try:
        parse_json(body)
    except UnreadableError as error:
        place = (error.line or 0, error.column or 0)

    assert min(place) >= 1


bits = st.sampled_from(
    [
        *('{"id":"e1",', '"id":', '"a":"b"', ":", ",", "{", "}", "[", "]", '"'),
        *("1", "-", "0.5", "null", "true", "é", " ", "\x01"),
    ]
)


@given(values.map(write_json) | st.lists(bits, max_size=12).map("".join))
def test_the_quick_reader_says_what_the_exact_one_says_or_leaves_it_to_it(text: str) -> None:
    body = text.encode("utf-8", "surrogatepass")
    quick = jsonbody._parse_plain(body)

    if quick is not jsonbody._NOT_PLAIN:
        assert repr(quick) == repr(jsonbody._parse_exactly(body))


def test_what_is_plain_is_read_by_the_quick_reader() -> None:
    assert jsonbody._parse_plain('{"é": [1, null, true, {"b": "c"}], "n": -7}'.encode()) == {
        "é": [1, None, True, {"b": "c"}],
        "n": -7,
    }


def test_a_fraction_keeps_every_digit() -> None:
    data = parse_json(b"[0.10, 12345678901234567890.123456789, 1E2]")

    assert data == [Decimal("0.10"), Decimal("12345678901234567890.123456789"), Decimal("1E+2")]
    assert str(data[0]) == "0.10"


@pytest.mark.parametrize(
    ("body", "line", "column", "message"),
    [
        ('{"id": 1,\n "id": 2}', 2, 2, "the key 'id' appears twice"),
        ('{"a": {"x": 1, "x": 1}}', 1, 16, "the key 'x' appears twice"),
        ('{"a":\n  NaN}', 2, 3, "found NaN"),
        ("[Infinity]", 1, 2, "found Infinity"),
        ("[1,\n-Infinity]", 2, 1, "found -Infinity"),
        ("", 1, 1, "expected JSON"),
        ("{", 1, 2, "expected JSON"),
        ('{"a": 1 "b"}', 1, 9, "expected JSON"),
        ('{"a": 1}\n{"b": 2}', 2, 1, "expected JSON"),
        ('{"a": "b\n"}', 1, 9, "expected JSON"),
        ("\ufeff{}", 1, 1, "expected JSON"),
        ("[01]", 1, 3, "expected JSON"),
        ("[\n 1e999999999]", 2, 2, "expected a JSON number"),
        ("[\n 1e-999999999]", 2, 2, "expected a JSON number"),
        ('{"a": "\\ud800"}', 1, 8, "surrogate"),
        ('{"\\udfff x": 1}', 1, 3, "surrogate"),
    ],
)
def test_a_mistake_is_told_with_its_place(body: str, line: int, column: int, message: str) -> None:
    error = problem(body)

    assert message in str(error)
    assert (error.line, error.column) == (line, column)


def test_bytes_that_are_not_utf8_are_told_with_their_place() -> None:
    error = problem(b'{"a": 1,\n "b": "\xe9"}')

    assert "expected UTF-8 text" in str(error)
    assert (error.line, error.column) == (2, 8)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_depth_is_refused_before_the_parser_can_overflow(opening: str) -> None:
    assert f"nested deeper than {DEPTH_MAX} levels" in str(problem(opening * 10_000))
    assert "nested deeper" in str(problem("[" * 10_000 + "]" * 10_000))


def test_depth_counts_what_is_open_at_once_and_no_brackets_in_text() -> None:
    assert len(parse_json(b"[" + b"[]," * 1_000 + b"[]]")) == 1_001
    assert parse_json(b'["' + b"[{" * 1_000 + b'\\"["]') == ["[{" * 1_000 + '"[']
    assert parse_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
    assert "nested deeper" in str(problem("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1)))


@pytest.mark.parametrize(
    "number", ["1" * (NUMBER_DIGITS_MAX + 1), "1" * 5_000, "0." + "1" * 5_000, "1e401", "1e-402", "1e" + "9" * 50]
)
def test_a_number_beyond_all_sense_is_refused(number: str) -> None:
    assert "expected a JSON number" in str(problem(f"[{number}]"))


def test_a_big_number_is_exact() -> None:
    assert parse_json(b"[9007199254740993, " + b"9" * NUMBER_DIGITS_MAX + b"]") == [
        9007199254740993,
        10**NUMBER_DIGITS_MAX - 1,
    ]


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "😀"
    assert parse_json(b'{"a": ["\\\\ud800"]}') == {"a": ["\\ud800"]}


def test_a_text_that_never_ends_is_refused_at_once() -> None:
    never_ending = b"[" + b"[]," * (DEPTH_MAX + 1) + b'"' + b'\\"' * 500_000

    started = time.process_time()
    mistake = problem(never_ending)

    # Looking for the end from each of its quotes again would take an hour.
    assert "expected JSON, Unterminated string" in str(mistake)
    assert time.process_time() - started < 5
    assert "expected JSON" in str(problem(never_ending + b"\\"))
