"""AMQP topic patterns: ``*`` stands for one word, ``#`` for any number of words, words are divided by dots.

All rules live in one index, so an event costs about the same with ten rules as with a thousand.

Source: AMQP 0-9-1, the topic exchange; checked by property tests against ``matches``, the naive reading.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

TYPE_BYTES_MAX: Final = 255
"""A routing key is a short string in AMQP, so a type and a pattern are too."""
MEMO_TYPES_MAX: Final = 4_096
"""How many types are remembered; they can come from outside, so the memory must have an end."""

_FRESH: Final = "\x00"  # a word that no pattern spells


@lru_cache(maxsize=MEMO_TYPES_MAX)
def type_problem(text: str) -> str | None:
    """What is wrong with an event type, in words; None when it is fine."""
    if not text:
        return "expected an event type such as order.paid, found nothing"
    if len(text.encode("utf-8", "replace")) > TYPE_BYTES_MAX:
        return f"expected an event type of at most {TYPE_BYTES_MAX} bytes, found {len(text.encode())}"
    if "" in text.split("."):
        return f"expected words divided by single dots, found {text!r}"
    if any(letter.isspace() or not letter.isprintable() for letter in text):
        return f"expected an event type without spaces, found {text!r}"
    if "*" in text or "#" in text:
        return f"expected one event type, found the pattern {text!r}"
    return None


def pattern_problem(text: str) -> str | None:
    """What is wrong with a pattern, in words; None when it is fine."""
    for word in text.split("."):
        if word not in ("*", "#") and ("*" in word or "#" in word):
            return f"expected * and # as whole words, found {word!r} in {text!r}"
    problem = type_problem(".".join("x" if word in ("*", "#") else word for word in text.split(".")))
    return problem.replace("an event type", "a pattern") if problem else None


def is_literal(pattern: str) -> bool:
    """Whether the pattern names one type only."""
    return not {"*", "#"} & set(pattern.split("."))


def matches(pattern: str, type_: str) -> bool:
    """The naive reading of a pattern: the reference that the index is tested against."""
    return _matches(pattern.split("."), _words(type_))


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_matches(pattern[1:], words[taken:]) for taken in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _matches(pattern[1:], words[1:])


class PatternIndex:
    """Every rule's patterns in one tree of words; answers with the numbers of the rules that match, in order."""

    def __init__(self, rules: Sequence[Iterable[str]]) -> None:
        self._root = _Node()
        for number, patterns in enumerate(rules):
            for pattern in patterns:
                self._root.add(pattern.split("."), number)
        self._memo: dict[str, tuple[int, ...]] = {}

    def match(self, type_: str) -> tuple[int, ...]:
        """The numbers of the rules with a pattern that matches this type, ascending, each once."""
        known = self._memo.get(type_)
        if known is None:
            known = self._walk(type_)
            if len(self._memo) >= MEMO_TYPES_MAX:
                self._memo.clear()
            self._memo[type_] = known
        return known

    def _walk(self, type_: str) -> tuple[int, ...]:
        # A set of places in the tree, moved on word by word: never more work than places times words,
        # however many # a pattern holds.
        places = _with_hashes([self._root])
        for word in _words(type_):
            places = _with_hashes(_step(places, word))
        return tuple(sorted({number for place in places for number in place.rules}))


class _Node:
    __slots__ = ("hash", "is_hash", "rules", "star", "words")

    def __init__(self, *, is_hash: bool = False) -> None:
        self.words: dict[str, _Node] = {}
        self.star: _Node | None = None
        self.hash: _Node | None = None
        self.is_hash = is_hash
        self.rules: list[int] = []

    def add(self, pattern: Sequence[str], number: int) -> None:
        node = self
        for word in pattern:
            if word == "#":
                node.hash = node.hash or _Node(is_hash=True)
                node = node.hash
            elif word == "*":
                node.star = node.star or _Node()
                node = node.star
            else:
                node = node.words.setdefault(word, _Node())
        node.rules.append(number)


def _step(places: Iterable[_Node], word: str) -> Iterator[_Node]:
    for place in places:
        if place.is_hash:
            yield place
        if place.star is not None:
            yield place.star
        found = place.words.get(word)
        if found is not None:
            yield found


def _with_hashes(places: Iterable[_Node]) -> set[_Node]:
    # A # may stand for nothing: whoever reaches the place before it has reached the place after it.
    reached: set[_Node] = set()
    for place in places:
        at: _Node | None = place
        while at is not None and at not in reached:
            reached.add(at)
            at = at.hash
    return reached


def overlap(left: str, right: str) -> str | None:
    """A type that both patterns match, or None when there is none. ``x`` stands in it for any word."""
    return _search(left, right, wanted=lambda in_left, in_right: in_left and in_right)


def covers(wide: str, narrow: str) -> bool:
    """Whether every type that ``narrow`` matches is matched by ``wide`` too."""
    return _search(narrow, wide, wanted=lambda in_narrow, in_wide: in_narrow and not in_wide) is None


_Places = frozenset[int]
_Wanted = Callable[[bool, bool], bool]


def _search(left: str, right: str, *, wanted: _Wanted) -> str | None:
    # Both patterns read the same words side by side; the pairs of places are few, so all can be visited.
    one, other = left.split("."), right.split(".")
    letters = [word for word in dict.fromkeys([*one, *other]) if word not in ("*", "#")] + [_FRESH]
    start = (_closed(one, {0}), _closed(other, {0}))
    # The start is not marked as seen: coming back to it with a word in hand is an answer of its own.
    seen: set[tuple[_Places, _Places]] = set()
    queue: deque[tuple[tuple[_Places, _Places], tuple[str, ...]]] = deque([(start, ())])
    while queue:
        (here, there), words = queue.popleft()
        if words and wanted(len(one) in here, len(other) in there):
            return ".".join("x" if word == _FRESH else word for word in words)
        for word in letters:
            pair = (_moved(one, here, word), _moved(other, there, word))
            if pair[0] and pair not in seen:
                seen.add(pair)
                queue.append((pair, (*words, word)))
    return None


def _moved(pattern: Sequence[str], places: _Places, word: str) -> _Places:
    moved: set[int] = set()
    for place in places:
        if place < len(pattern):
            if pattern[place] == "#":
                moved.add(place)
            elif pattern[place] in ("*", word):
                moved.add(place + 1)
    return _closed(pattern, moved)


def _closed(pattern: Sequence[str], places: Iterable[int]) -> _Places:
    reached: set[int] = set()
    for place in places:
        at = place
        reached.add(at)
        while at < len(pattern) and pattern[at] == "#":
            at += 1
            reached.add(at)
    return frozenset(reached)


def _words(type_: str) -> list[str]:
    return type_.split(".") if type_ else []
