"""Which headers stay with an event."""

from __future__ import annotations

import pytest

from hub.errors import UnreadableError
from hub.headers import HEADER_BYTES_MAX, HEADERS_MAX, clean_headers


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "X-Api-Key",
        "apikey",
        "X-SePay-Signature",
        "webhook-signature",
        "PayPal-Transmission-Sig",
        "X-Auth-Token",
        "X-Hub-Signature-256",
        "X-Amz-Security-Token",
        "X-CSRF-Token",
        "X-Client-Secret",
        "X-Forwarded-For",
        "Content-Length",
        "Host",
    ],
)
def test_secrets_and_what_belongs_to_the_connection_are_not_kept(name: str) -> None:
    assert clean_headers([(name, "value")]) == {}


@pytest.mark.parametrize(
    "name", ["User-Agent", "X-Request-Id", "webhook-id", "X-SePay-Timestamp", "X-Author", "traceparent", "X-Keyboard"]
)
def test_other_headers_are_kept_in_lower_case(name: str) -> None:
    assert clean_headers([(name, " value ")]) == {name.lower(): "value"}


def test_a_source_keeps_what_it_asks_for_and_drops_what_its_scheme_reads() -> None:
    pairs = [("PayPal-Auth-Algo", "SHA256"), ("X-Shop-Code", "secret")]

    assert clean_headers(pairs, keep={"paypal-auth-algo"}, drop={"x-shop-code"}) == {"paypal-auth-algo": "SHA256"}


def test_repeated_headers_are_joined_in_order() -> None:
    assert clean_headers([("X-Tag", "a"), ("x-tag", "b")]) == {"x-tag": "a, b"}


def test_bytes_that_are_not_text_can_still_be_stored() -> None:
    kept = clean_headers([("x-name", "caf\udce9")])

    kept["x-name"].encode()


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx-admin: yes", "a\x00b", "\x7f"])
def test_a_control_character_is_refused_with_the_name_of_the_header(value: str) -> None:
    with pytest.raises(UnreadableError, match=r"headers\.x-note: expected no control characters"):
        clean_headers([("X-Note", value)])


@pytest.mark.parametrize(
    "pairs",
    [
        [("x bad name", "a")],
        [("", "a")],
        [("x-long", "a" * HEADER_BYTES_MAX)],
        [(f"x-{number}", "a") for number in range(HEADERS_MAX + 1)],
        [(f"x-{number}", "a" * 8_000) for number in range(5)],
    ],
)
def test_headers_beyond_the_bounds_are_refused(pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(UnreadableError):
        clean_headers(pairs)
