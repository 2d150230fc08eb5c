"""A body that may be JSON or a form: the same message reads the same, and what is neither is refused."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import UnreadableError
from hub.formbody import FIELDS_MAX, MULTIPART, URL_ENCODED, parse_body

PARTS = f"{MULTIPART}; boundary=AaB03x"


def multipart(**fields: str) -> bytes:
    parts = [
        f'--AaB03x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()
    ]
    return ("".join(parts) + "--AaB03x--\r\n").encode()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("18067000.00", 18_067_000),
        ("-3", -3),
        ("0", 0),
        ("0123", "0123"),
        ("1.5", "1.5"),
        ("9" * 18, int("9" * 18)),
        ("9" * 19, "9" * 19),
        ("null", None),
        ("", ""),
        ("Chuyển tiền & hơn", "Chuyển tiền & hơn"),
    ],
)
def test_a_field_is_what_json_would_have_said(text: str, value: object) -> None:
    assert parse_body(urlencode({"a": text}).encode(), f"{URL_ENCODED}; charset=utf-8") == {"a": value}
    assert parse_body(multipart(a=text), PARTS) == {"a": value}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"a=1", "application/json"),
        (b"a=1&a=2", URL_ENCODED),
        (b"a=%ff", URL_ENCODED),
        (b"no equals sign", URL_ENCODED),
        (b"", URL_ENCODED),
        (b"&".join(b"f%d=1" % number for number in range(FIELDS_MAX + 1)), URL_ENCODED),
        (multipart(a="1")[:-20], PARTS),
        (multipart(a="1"), MULTIPART),
        (b"", PARTS),
        (b'--AaB03x\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\n1\r\n--AaB03x--\r\n', PARTS),
        (b'--AaB03x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--AaB03x--\r\n', PARTS),
        (b"--AaB03x\r\n\r\n1\r\n--AaB03x--\r\n", PARTS),
    ],
)
def test_what_is_neither_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(UnreadableError):
        parse_body(body, content_type)


def test_more_parts_than_fit_are_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {f"f{number}": str(number) for number in range(FIELDS_MAX)}
    assert len(parse_body(multipart(**fields), PARTS)) == FIELDS_MAX
    monkeypatch.setattr("hub.formbody.BytesParser", None)

    with pytest.raises(UnreadableError, match=f"at most {FIELDS_MAX} fields"):
        parse_body(multipart(**fields, more="1"), PARTS)


@given(st.binary(max_size=400), st.sampled_from([URL_ENCODED, PARTS, MULTIPART, f"{PARTS}\x00é", "application/json"]))
def test_any_bytes_are_read_or_refused(body: bytes, content_type: str) -> None:
    try:
        parse_body(body, content_type)
    except UnreadableError:
        return


def test_json_is_json_whatever_it_is_called() -> None:
    assert parse_body(json.dumps({"a": 1}).encode(), URL_ENCODED) == {"a": 1}
