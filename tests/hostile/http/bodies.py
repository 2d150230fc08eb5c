"""Bodies that no client makes by mistake: deep, wide, huge, doubled, cut, in the wrong script or shape."""

from __future__ import annotations

from typing import Final

JSON: Final = "application/json"
MIB: Final = 1024 * 1024

BODIES: Final[dict[str, tuple[str, bytes]]] = {
    "lists 100,000 deep": (JSON, b"[" * 100_000 + b"]" * 100_000),
    "lists without end": (JSON, b"[" * 500_000),
    "objects 50,000 deep": (JSON, b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "100,000 members": (JSON, b"{" + b",".join(b'"%d":0' % number for number in range(90_000)) + b"}"),
    "a list of 500,000": (JSON, b"[" + b"0," * 500_000 + b"0]"),
    "a text of quotes": (JSON, b'{"a":"' + b'\\"' * 500_000 + b'"}'),
    "quotes without end": (JSON, b'"' * 1_000_001),
    "backslashes": (JSON, b'{"' + b"\\" * 900_000),
    "a number of 100,000 digits": (JSON, b'{"amount":' + b"9" * 100_000 + b"}"),
    "a fraction of 100,000 digits": (JSON, b'{"amount":0.' + b"9" * 100_000 + b"}"),
    "a huge exponent": (JSON, b'{"amount":1e999999999}'),
    "an exponent beyond 64 bits": (JSON, b'{"amount":1e99999999999999999999}'),
    "not a number": (JSON, b'{"amount":NaN}'),
    "infinity": (JSON, b'{"amount":-Infinity}'),
    "a key twice": (JSON, b'{"amount":1,"amount":2}'),
    "half a character": (JSON, b'{"user_id":"\\ud800","amount":1}'),
    "a half as a key": (JSON, b'{"\\udfff":1}'),
    "not UTF-8": (JSON, b'{"user_id":"\xff\xfe"}'),
    "too long a form of a character": (JSON, b'{"user_id":"\xc0\xaf"}'),
    "UTF-16": (JSON, '{"amount":1}'.encode("utf-16")),
    "a byte order mark": (JSON, b'\xef\xbb\xbf{"amount":1}'),
    "NUL": (JSON, b'{"user_id":"\\u0000","request_id":"\\u0000"}'),
    "bare NUL": (JSON, b"\x00" * 1_000),
    "a bare control character": (JSON, b'{"user_id":"\x01"}'),
    "nothing": (JSON, b""),
    "white space": (JSON, b" \n" * 100_000),
    "two documents": (JSON, b"{}{}"),
    "a comma too many": (JSON, b'{"amount":1,}'),
    "a comment": (JSON, b'{"amount":1/*2*/}'),
    "cut": (JSON, b'{"amount":'),
    "a list": (JSON, b"[{}]"),
    "a text": (JSON, b'"{}"'),
    "null": (JSON, b"null"),
    "beyond the cap": (JSON, b" " * (MIB + 1)),
    "the name of a class": (JSON, b'{"__class__":"object","__proto__":{"is_admin":true},"constructor":1}'),
    "XML": ("application/xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
    "a form": ("application/x-www-form-urlencoded", b"amount=1&amount=2&" + b"a=b&" * 100_000),
    "a form of another script": ("application/x-www-form-urlencoded; charset=klingon", b"\xff=\xff"),
    "parts": ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n"),
    "parts without a boundary": ("multipart/form-data", b"--b\r\n"),
    "another script": ("application/json; charset=klingon", b'{"amount":1}'),
    "a type that is none": ("a/b/c; ;;=", b'{"amount":1}'),
}
"""Name → content type, body."""
