"""What differs between two contents is named field by field."""

from __future__ import annotations

import pytest

from hub.console.differences import CHARS_MAX, SHOWN_MAX, Difference, list_differences


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ('{"id": 1, "amount": 4500}', '{"amount": 4501, "id": 1}', [("amount", "4500", "4501")]),
        ('{"a": {"b": [1, 2]}}', '{"a": {"b": [1, 3, 4]}}', [("a.b[1]", "2", "3"), ("a.b[2]", "–", "4")]),
        ('{"a": 1.10, "b": null}', '{"a": 1.1}', [("b", "null", "–")]),
        ('{"a": "1"}', '{"a": 1}', [("a", '"1"', "1")]),
        ('{"a": true}', '{"a": 1}', [("a", "true", "1")]),
        ('{"a": 0.1}', '{"a": 0.10000000000000000001}', [("a", "0.1", "0.10000000000000000001")]),
        ("[1]", "2", [("all of it", "[1]", "2")]),
        ('{"phone": "***"}', '{"phone": "***"}', []),
        ('{"a": 1', '{"a": 2}', []),
    ],
)
def test_the_fields_that_differ_are_named(first: str, second: str, found: list[tuple[str, str, str]]) -> None:
    assert list_differences(first, second) == [Difference(*one) for one in found]


def test_what_is_long_is_cut() -> None:
    many = [list_differences(f"[{', '.join(str(place + by) for place in range(50))}]", "[]") for by in (0, 1)]
    [long] = list_differences('{"a": "%s"}' % ("x" * 10_000), '{"a": ""}')

    assert [len(one) for one in many] == [SHOWN_MAX, SHOWN_MAX]
    assert len(long.first) == CHARS_MAX + 1
