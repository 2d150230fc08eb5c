"""What the operator is told about a refused webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from hub.ingress.doctor import diagnose
from hub.ingress.schemes import Request

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
BODY = b'{"id":1,"content":"caf\xc3\xa9"}'
SECRET = "c2VjcmV0LXRleHQtb2Ytb3VycyE="
AUTH: dict[str, object] = {
    "scheme": "hmac",
    "signature_header": "X-Signature",
    "timestamp_header": "X-Timestamp",
    "prefix": "sha256=",
    "secret": SECRET,
}


def sign(secret: bytes = SECRET.encode(), message: bytes = STAMP.encode() + b"." + BODY, name: str = "sha256") -> bytes:
    return hmac.new(secret, message, getattr(hashlib, name)).digest()


def said(auth: Mapping[str, object], headers: Mapping[str, str], body: bytes = BODY, now: datetime = NOW) -> str:
    given = {name.lower(): value for name, value in headers.items()}
    request = Request(method="POST", path="/w", headers=given, body=body)
    return "\n".join(finding.text for finding in diagnose(auth, request, now))


def test_a_good_request_is_told_which_secret_matched() -> None:
    text = said({**AUTH, "secret": f"other,{SECRET}"}, {"X-Signature": f"sha256={sign().hex()}", "X-Timestamp": STAMP})

    assert "Secret 2 gives this signature." in text
    assert "accepted" in text


@pytest.mark.parametrize(
    ("signature", "body", "expected"),
    [
        (sign().hex(), BODY, "the prefix 'sha256=' is missing"),
        ("sha256=" + base64.b64encode(sign()).decode(), BODY, "set encoding: base64"),
        ("v1=" + sign().hex(), BODY, "written with the prefix 'v1='"),
        ("sha256=" + sign().hex(), b'{"id": 1, "content": "caf\xc3\xa9"}', "signed as compact JSON"),
        ("sha256=" + sign().hex(), b'{"id":1,"content":"caf\\u00e9"}', "signed as compact JSON."),
        ("sha256=" + sign().hex(), BODY + b"\n", "no line break at its end when it was signed"),
        ("sha256=" + sign(f"{SECRET}\n".encode()).hex(), BODY, "ends in a line break"),
        ("sha256=" + sign(base64.b64decode(SECRET)).hex(), BODY, "set secret_encoding: base64"),
        ("sha256=" + sign(message=BODY).hex(), BODY, "it covers {body} (the time stamp is then not protected)"),
        ("sha256=" + sign(name="sha512").hex(), BODY, "set hash: sha512"),
        ("sha256=" + sign(name="sha1").hex(), BODY, "SHA-1"),
        ("sha256=" + sign(b"quite another").hex(), BODY, "No secret gives this signature"),
        ("sha256=zz!", BODY, "holds neither hex nor base64"),
    ],
)
def test_a_common_mistake_is_named_with_what_to_change(signature: str, body: bytes, expected: str) -> None:
    text = said(AUTH, {"X-Signature": signature, "X-Timestamp": STAMP}, body)

    assert expected in text
    assert "refused" in text


def test_two_mistakes_at_once_are_both_named() -> None:
    text = said(AUTH, {"X-Signature": sign(message=BODY).hex(), "X-Timestamp": STAMP})

    assert "prefix 'sha256=' is missing" in text
    assert "it covers {body}" in text


def test_a_clock_that_is_off_is_told_in_seconds() -> None:
    late = datetime.fromtimestamp(NOW.timestamp() + 1_000, UTC)

    text = said(AUTH, {"X-Signature": f"sha256={sign().hex()}", "X-Timestamp": STAMP}, now=late)

    assert "1000 s in the past" in text
    assert "clock" in text


def test_a_signature_in_another_header_is_found() -> None:
    text = said(AUTH, {"X-Hub-Signature-256": f"sha256={sign().hex()}", "X-Request-Timestamp": STAMP})

    assert "x-hub-signature-256: set signature_header" in text
    assert "x-request-timestamp" in text


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Authorization": "Apikey abcdefgh12"}, "Secret 1 matches."),
        ({"Authorization": "Bearer abcdefgh12"}, "begins with the word 'Bearer'"),
        ({"Authorization": "abcdefgh12"}, "has no word before the key"),
        ({"X-Api-Key": "abcdefgh12"}, "arrives in the header x-api-key: set header: x-api-key"),
        ({"Authorization": 'Apikey "abcdefgh12"'}, "quotation marks"),
        ({"Authorization": "Apikey ABCDEFGH12"}, "upper and lower case"),
        ({"Authorization": "Apikey abcdefgh"}, "one of them was cut"),
        ({"Authorization": "Apikey nothing-like-it"}, "matches none of the 1 secrets"),
        ({}, "The header authorization is missing"),
    ],
)
def test_a_wrong_api_key_is_explained(headers: dict[str, str], expected: str) -> None:
    text = said({"scheme": "api_key", "prefix": "Apikey", "secret": "abcdefgh12"}, headers)

    assert expected in text
    assert "abcdefgh12" not in text


def test_a_missing_secret_and_a_wrong_parameter_are_told() -> None:
    assert "No secret is configured" in said({**AUTH, "secret": ""}, {"X-Signature": "sha256=00", "X-Timestamp": STAMP})
    assert "No secret is configured" in said({"scheme": "api_key"}, {})
    assert "unknown parameter" in said({**AUTH, "secrets": "x"}, {})
