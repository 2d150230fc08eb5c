"""No text from outside makes a regular expression, or a reader, take steps without end. No time is measured here."""

from __future__ import annotations

import importlib
import io
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

import handlers
import hub
import schemas
from handlers.paypay.files_layout import TransactionFile
from handlers.sepay.matching import TransferText
from handlers.sepay.vietqr import read_payload
from hub.errors import UnreadableError
from hub.formbody import parse_body
from hub.ingress.cloudevents import read_cloudevents
from hub.jsonbody import parse_json
from hub.routing.yamltext import read_yaml

# Their places since Python 3.11, in no stub.
_constants: Any = importlib.import_module("re._constants")
_parser: Any = importlib.import_module("re._parser")

REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)
MANY = 8
"""A repeat of at most so many is no danger, however it is nested."""


def modules() -> Iterator[Any]:
    for package in (hub, handlers, schemas):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in found.name and not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def patterns_of(module: Any) -> Iterator[tuple[str, re.Pattern[Any]]]:
    for name, value in vars(module).items():
        if isinstance(value, re.Pattern):
            yield f"{module.__name__}.{name}", value


def is_ambiguous(parsed: Any, *, is_inside: bool = False) -> bool:
    """Whether a repeat without a bound stands in another one that may be given up: then 2^n ways lead to a failure.

    One that ends in something that it cannot itself begin with has one way only; such a one is asked about by name.
    """
    for operation, argument in parsed:
        if operation in REPEATS:
            _, most, inner = argument
            is_open = most is _constants.MAXREPEAT or most > MANY
            if is_inside and is_open:
                return True
            if is_ambiguous(inner, is_inside=is_inside or is_open):
                return True
        elif operation is _constants.SUBPATTERN:
            if is_ambiguous(argument[-1], is_inside=is_inside):
                return True
        elif operation is _constants.BRANCH:
            if any(is_ambiguous(one, is_inside=is_inside) for one in argument[1]):
                return True
        elif operation in (_constants.ASSERT, _constants.ASSERT_NOT) and is_ambiguous(argument[1], is_inside=is_inside):
            return True
        # What is possessive or atomic is never tried again: nothing in it multiplies.
    return False


LOOKED_AT: dict[str, str] = {
    "hub.routing.explain._REFERENCE": "each step begins with a dot or a bracket, of which its words hold none",
}
"""Patterns with a repeat within a repeat that have one way all the same, and why."""


def test_no_pattern_tries_the_same_text_in_more_and_more_ways() -> None:
    found = {name: pattern for module in modules() for name, pattern in patterns_of(module)}
    guilty = {
        name
        for name, pattern in found.items()
        if is_ambiguous(_parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))
    }

    assert len(found) > 60
    assert guilty == set(LOOKED_AT)


@pytest.mark.parametrize(
    ("pattern", "is_bad"),
    [("(a+)+$", True), ("(a|b*)*", True), ("a+b+", False), ("(?:a{1,9}){2,}", True), ("(?:[a-z]|b)*+x", False)],
)
def test_what_is_looked_for_is_found(pattern: str, is_bad: bool) -> None:
    assert is_ambiguous(_parser.parse(pattern)) == is_bad


def steps(work: Callable[[], object]) -> int:
    """How many calls it takes, of Python's functions and of C's."""
    count = 0

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        with suppress(UnreadableError, ValueError):
            work()
    finally:
        sys.setprofile(None)
    return count


def cloud_batch(count: int) -> bytes:
    one = b'{"specversion": "1.0", "id": "e", "source": "s", "type": "t", "data": {"a": [1, 2]}}'
    return b"[" + b",".join([one] * count) + b"]"


GROWING: dict[str, Callable[[int], object]] = {
    "json, open brackets": lambda n: parse_json(b"[" + b"[]," * n),
    "json, open text": lambda n: parse_json(b"[" + b"[]," * 70 + b'"' + b'\\"' * n),
    "json, keys": lambda n: parse_json(b"{" + b",".join(b'"%d": 1.5' % i for i in range(n)) + b"}"),
    "form": lambda n: parse_body(b"&".join(b"f%d=1" % i for i in range(n)), "application/x-www-form-urlencoded"),
    "multipart": lambda n: parse_body(
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x\r\n" * n, "multipart/form-data; boundary=b"
    ),
    "cloudevents": lambda n: read_cloudevents(
        headers={"content-type": "application/cloudevents-batch+json"}, body=cloud_batch(n), sources=["s"]
    ),
    "yaml, flow": lambda n: read_yaml("a: [" + "1, " * n, file="f", environ={}),
    "yaml, keys": lambda n: read_yaml("".join(f"k{i}: ${{X:-1}}\n" for i in range(n)), file="f", environ={}),
    "yaml, aliases": lambda n: read_yaml(
        "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, n // 10)), file="f", environ={}
    ),
    "transfer": lambda n: TransferText("", "TOPUP" * n, "PAY1" * n).match(set()),
    "transaction file": lambda n: list(TransactionFile(io.BytesIO(b"a,b\n" + b'1,"2"\n' * n), "other").rows()),
    "qr": lambda n: read_payload("0001x" * n + "63040000"),
}


@pytest.mark.parametrize("name", GROWING)
def test_twice_the_text_takes_at_most_about_twice_the_steps(name: str) -> None:
    steps(lambda: GROWING[name](10))  # what is imported or compiled with the first use does not count
    one, two = steps(lambda: GROWING[name](100)), steps(lambda: GROWING[name](200))

    assert two <= 2.5 * one + 200
