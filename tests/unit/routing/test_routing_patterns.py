"""Topic patterns: the index says what the naive reading says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.routing import PatternIndex, matches
from hub.routing.patterns import MEMO_TYPES_MAX, covers, is_literal, overlap, pattern_problem, type_problem

words = st.sampled_from(["a", "b", "c"])
types = st.lists(words, min_size=1, max_size=5).map(".".join)
patterns = st.lists(st.one_of(words, st.sampled_from(["*", "#"])), min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("pattern", "type_", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "a", True),
        ("#.c", "a.b.c", True),
        ("#.b.#", "b", True),
        ("*.#.c", "a.c", True),
        ("*.#.c", "c", False),
    ],
)
def test_a_star_is_one_word_and_a_hash_is_any_number(pattern: str, type_: str, expected: bool) -> None:
    assert matches(pattern, type_) is expected
    assert PatternIndex([[pattern]]).match(type_) == ((0,) if expected else ())


@given(st.lists(st.lists(patterns, max_size=3), max_size=8), types)
def test_the_index_says_what_the_naive_reading_says(rules: list[list[str]], type_: str) -> None:
    index = PatternIndex(rules)

    found = index.match(type_)

    assert found == tuple(n for n, rule in enumerate(rules) if any(matches(pattern, type_) for pattern in rule))
    assert index.match(type_) == found


@given(patterns, patterns, types)
def test_patterns_without_overlap_never_match_one_type(left: str, right: str, type_: str) -> None:
    common = overlap(left, right)

    if common is None:
        assert not (matches(left, type_) and matches(right, type_))
    else:
        assert matches(left, common)
        assert matches(right, common)


@given(patterns, patterns, types)
def test_a_pattern_that_covers_another_matches_all_that_it_matches(wide: str, narrow: str, type_: str) -> None:
    if covers(wide, narrow) and matches(narrow, type_):
        assert matches(wide, type_)


@pytest.mark.parametrize(("wide", "narrow"), [("#", "a.*"), ("a.#", "a.b.*"), ("#.#", "#"), ("*.#", "#.*"), ("a", "a")])
def test_a_wider_pattern_is_known_as_such(wide: str, narrow: str) -> None:
    assert covers(wide, narrow)


@pytest.mark.parametrize(("wide", "narrow"), [("a.*", "#"), ("a.*", "a.#"), ("*.*", "*.#"), ("a.b", "a.*")])
def test_a_narrower_pattern_covers_nothing_more(wide: str, narrow: str) -> None:
    assert not covers(wide, narrow)


def test_the_memory_of_types_has_an_end() -> None:
    index = PatternIndex([["a.#"]])

    for number in range(MEMO_TYPES_MAX * 2 + 1):
        assert index.match(f"a.{number}") == (0,)

    assert len(index._memo) <= MEMO_TYPES_MAX


def test_many_hashes_do_not_explode() -> None:
    index = PatternIndex([[".".join(["#", "a"] * 30)]])

    assert index.match(".".join(["a"] * 120)) == (0,)
    assert index.match(".".join(["a"] * 29)) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b*", "expected * and # as whole words, found 'b*' in 'a.b*'"),
        ("a..b", "expected words divided by single dots, found 'a..b'"),
        ("", "expected words divided by single dots"),
        ("a b", "expected a pattern without spaces"),
        ("x" * 256, "expected a pattern of at most 255 bytes, found 256"),
    ],
)
def test_a_broken_pattern_is_refused_with_what_was_expected(text: str, expected: str) -> None:
    problem = pattern_problem(text)

    assert problem is not None
    assert expected in problem or text == ""


def test_a_type_is_no_pattern() -> None:
    assert type_problem("a.*") == "expected one event type, found the pattern 'a.*'"
    assert type_problem("order.paid") is None
    assert pattern_problem("order.*.#") is None


@pytest.mark.parametrize("text", ["a#", "order.#x", "x*.b", "a.**"])
def test_a_star_or_a_hash_is_a_word_of_its_own(text: str) -> None:
    problem = pattern_problem(text)

    assert problem is not None
    assert "as whole words" in problem


@pytest.mark.parametrize(
    ("pattern", "is_one"), [("order.paid", True), ("order.*", False), ("#", False), ("a.#.b", False)]
)
def test_a_literal_pattern_names_one_type(pattern: str, is_one: bool) -> None:
    assert is_literal(pattern) is is_one


def test_a_type_that_two_patterns_share_is_shown_with_x_for_any_word() -> None:
    assert overlap("*", "#") == "x"
