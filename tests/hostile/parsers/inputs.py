"""Hostile inputs: bytes and texts of any kind, and the real fixtures with something done to them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

DATA: Final = Path(__file__).parents[2] / "data"
EXAMPLES: Final = int(os.environ.get("HUB_TEST_PARSER_EXAMPLES") or 0)
"""How many inputs each test draws when somebody asks for many; 0 = the few of ``make test``."""

ODD_BYTES: Final = (
    *(b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\x1b[2J"),
    *(b"[" * 3_000, b'{"a":' * 3_000, b"(" * 3_000, b"9" * 5_000, b"-" + b"9" * 25, b"1e999999999", b"NaN", b"-0"),
    *(b"\r\n", b"\n\n", b"\r", b"\t", b'"', b"'", b"\\", b"%00"),
    *(b"%ff", b"${HOME}", b"{{", b"}}", b",", b";", b"&", b"=", b"#"),
    *("\u202e\u3000\u0663\uff11".encode(), "e\u0301".encode(), "\U0001f600".encode(), "\u0130\u00df".encode()),
)  # fmt: skip
ODD_LITERALS: Final = (
    *("null", "true", "0", "-1", "-0", "1.0", "0.1", "1e3", "1e400", "1e-400", "NaN", "Infinity", "1e999999999"),
    *("9" * 19, "9" * 400, "9" * 5_000, "9223372036854775807", "9223372036854775808", "-9223372036854775809"),
    *('""', '" "', '"\\u0000"', '"a\\u0000b"', '"\\ud800"'),
    *('"\\udc00\\ud800"', '"\\ufeff"', '"\\u202eabc"', '"\\u0663"'),
    *('"\\uff11\\uff12"', '"e\\u0301"', '"1e999"', '"-5"', '"0x10"'),
    *('"1,5"', '"1.00000"', '"NaN"', '"../../etc/passwd"'),
    *('"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"', '"2026-13-45 99:99:99"', '"=1+1"', '"https://["'),
    *(json.dumps("9" * 5_000), json.dumps("x" * 70_000), "[]"),
    *("{}", "[[]]", '{"": {}}', '{"a": 1, "a": 2}', '["a", "a"]'),
    *("[" * 60 + "]" * 60, "[" * 3_000 + "]" * 3_000, '{"a":' * 3_000 + "1" + "}" * 3_000),
)  # fmt: skip
ODD_TEXTS: Final = (
    *("", " ", "\x00", "a\x00b", "\ud800", "a\udcff", "\ufeff"),
    *("\u202e", "\u3000", "\u0663\u0664", "\uff11", "e\u0301", "\u0130"),
    *("'", '"', "\\", "%", "_", "%00", "\r\n", "\x1b[2J", "\x7f"),
    *("NaN", "-0", "1e999", "1e-999999999", "0x1f", "null", "[", "{"),
    *("9" * 19, "9" * 25, "9" * 5_000, "-" + "9" * 30, "x" * 5_000),
    *("../../etc/passwd", "https://[", "a=b=c", ";--", "${X}"),
)  # fmt: skip


def fuzz(cheap: int = 20) -> settings:
    """Few examples with every change; HUB_TEST_PARSER_EXAMPLES of them when somebody looks for trouble."""
    allowed = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=EXAMPLES or cheap, suppress_health_check=allowed)


odd_texts: st.SearchStrategy[str] = (
    st.sampled_from(ODD_TEXTS)
    | st.text(max_size=40)
    | st.text(st.characters(categories=["Cs", "Cc", "Cf", "Nd", "Zs", "Mn"]), max_size=12)
    | st.builds(lambda *parts: "".join(parts), st.sampled_from(ODD_TEXTS), st.text(max_size=8))
)
"""Texts as a carrier may hand them over: NUL, halves of surrogate pairs, digits of other scripts, far too long."""


header_texts = odd_texts.map(lambda text: text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))
"""The same as a header brings it over HTTP: bytes that are no UTF-8 are halves of surrogate pairs of one kind."""


@st.composite
def mutated(draw: st.DrawFn, originals: Sequence[bytes]) -> bytes:
    """Random bytes now and then; else an original, flipped, cut, spliced, doubled, or with something odd put in."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    body = draw(st.sampled_from(originals))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 40)))
        match draw(st.sampled_from(("flip", "cut", "end", "splice", "double", "insert", "insert", "replace"))):
            case "flip" if at < len(body):
                body = body[:at] + bytes((body[at] ^ 1 << draw(st.integers(0, 7)),)) + body[at + 1 :]
            case "cut":
                body = body[:at] + body[end:]
            case "end":
                body = body[:at]
            case "splice":
                other = draw(st.sampled_from(originals))
                body = body[:at] + other[draw(st.integers(0, len(other))) :]
            case "double":
                body = body[:end] + body[at:end] + body[end:]
            case "insert":
                body = body[:at] + draw(st.sampled_from(ODD_BYTES)) + body[at:]
            case "replace":
                body = body[:at] + draw(st.sampled_from(ODD_BYTES)) + body[end:]
    return body


@st.composite
def mutated_text(draw: st.DrawFn, originals: Sequence[str]) -> str:
    """The same for what is text already: halves of surrogate pairs may be in it."""
    body = draw(mutated([text.encode("utf-8", "surrogatepass") for text in originals]))
    return body.decode("utf-8", draw(st.sampled_from(("replace", "surrogateescape"))))


@st.composite
def mutated_json(draw: st.DrawFn, documents: Sequence[Any]) -> bytes:
    """A JSON document with odd values in some places, members left out, named otherwise or written twice."""
    document = json.loads(json.dumps(draw(st.sampled_from(documents))))
    literals: dict[str, str] = {}
    for number in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, name = draw(st.sampled_from(places))
        mark = f"@@{number}@@"
        match draw(st.sampled_from(("value", "value", "value", "value", "without", "name", "twice"))):
            case "value":
                holder[name] = mark
                literals[f'"{mark}"'] = draw(st.sampled_from(ODD_LITERALS))
            case "without":
                del holder[name]
            case "name" if isinstance(holder, dict):
                holder[draw(st.sampled_from(("", "id", "a" * 5_000, "\u202e", "\u0000", str(name).upper())))] = (
                    holder.pop(name)
                )
            case "twice" if isinstance(holder, dict):
                value = json.dumps(holder[name])
                holder[name] = mark
                literals[f'"{mark}"'] = f"{value}, {json.dumps(name)}: {draw(st.sampled_from(ODD_LITERALS))}"
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from((None, 0, 2))))
    for mark, literal in literals.items():
        text = text.replace(mark, literal)
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every member and element: what holds it, and its name or number there."""
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [place for name, item in inner for place in [(value, name), *_places(item)]]


def json_file(name: str) -> Any:
    """A fixture of tests/data."""
    return json.loads((DATA / name).read_text())


def loymax_messages() -> list[Any]:
    return [json.loads(file.read_text()) for file in sorted((DATA / "loymax").glob("*.json")) if file.stem != "index"]


def paypal_events() -> list[Any]:
    skipped = ("index", "api_examples")
    return [
        json.loads(file.read_text()) for file in sorted((DATA / "paypal").glob("*.json")) if file.stem not in skipped
    ]


def bodies_in(value: Any) -> list[str]:
    """Every JSON object or list of a fixture, written down: what an answer or a message may look like."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [json.dumps(value)] if isinstance(value, dict | list) and value else []
    return own + [body for one in inner for body in bodies_in(one)]


def size_of(value: Any) -> int:
    """How many values a parsed document has, itself included."""
    if isinstance(value, dict):
        return 1 + sum(1 + size_of(item) for item in value.values())
    return 1 + sum(map(size_of, value)) if isinstance(value, list) else 1


def expect(is_so: object) -> None:
    """What must hold of an error that came out, where it was caught."""
    assert is_so


def is_storable(text: str) -> bool:
    """Whether PostgreSQL and SQLite take this text."""
    return "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
