"""Bodies and headers over HTTP: JSON, forms, CloudEvents in their three forms, and what is kept of headers."""

from __future__ import annotations

import json
from datetime import UTC
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import UnreadableError
from hub.formbody import FIELDS_MAX, MULTIPART, URL_ENCODED, parse_body
from hub.headers import HEADERS_BYTES_MAX, HEADERS_MAX, clean_headers, is_secret, usable_headers
from hub.inbox.received import Received
from hub.ingress.cloudevents import BATCHED, EVENTS_PER_BATCH_MAX, STRUCTURED, is_json, read_cloudevents
from hub.jsonbody import NUMBER_DIGITS_MAX, parse_json, write_json
from tests.hostile.parsers.inputs import (
    ODD_LITERALS,
    expect,
    fuzz,
    header_texts,
    is_storable,
    json_file,
    loymax_messages,
    mutated,
    mutated_json,
    paypal_events,
    size_of,
)

SEPAY: list[Any] = [case["payload"] for case in json_file("sepay/webhook_payloads.json")["payloads"]]
PAYPAY: dict[str, Any] = json_file("paypay/webhooks.json")
DOCUMENTS = [*SEPAY, *loymax_messages(), *paypal_events(), *PAYPAY["transaction"].values(), [], {}, "text", 1]
BODIES = [json.dumps(one, ensure_ascii=False).encode() for one in DOCUMENTS]
SOURCES = ("loymax", "shop-catalogue")
EVENT = {"specversion": "1.0", "id": "e-1", "source": "loymax", "type": "card.link", "time": "2026-01-31T09:30:00Z"}
EVENTS = [
    *({**EVENT, "tenant": "vn", "data": one} for one in DOCUMENTS),
    {**EVENT, "datacontenttype": "text/xml", "data": "<a/>", "attempt": 2, "test": True},
    {**EVENT, "data_base64": "AAEC"},
]
BOUNDARY = "AaB03x"
PART = b'--AaB03x\r\nContent-Disposition: form-data; name="id"\r\nContent-Type: text/plain\r\n\r\n17\r\n'
FORMS = [
    (URL_ENCODED, urlencode({name: str(value) for name, value in SEPAY[0].items()}).encode()),
    (f"{MULTIPART}; boundary={BOUNDARY}", PART + PART.replace(b'"id"', b'"content"') + b"--AaB03x--\r\n"),
]
FORM_TYPES = (*(kind for kind, _ in FORMS), f'{MULTIPART}; boundary="', f"{MULTIPART}; boundary*=utf-8''%ff", MULTIPART)


@fuzz(30)
@given(mutated_json(DOCUMENTS) | mutated(BODIES))
def test_json_is_read_digit_by_digit_or_refused_with_its_place(body: bytes) -> None:
    try:
        data = parse_json(body)
    except UnreadableError as error:
        expect((error.line or 0) >= 1)
        expect((error.column or 0) >= 1)
        expect(len(str(error)) < 500 + len(body))
        return

    assert repr(parse_json(write_json(data).encode())) == repr(data)
    assert size_of(data) <= len(body)
    assert all(is_storable(text.replace("\x00", "")) for text in _texts(data))
    assert all(abs(number.adjusted()) <= NUMBER_DIGITS_MAX for number in _numbers(data))


@fuzz(30)
@given(
    st.sampled_from(FORMS).flatmap(
        lambda form: st.tuples(st.just(form[0]) | st.sampled_from(FORM_TYPES), mutated([form[1]]))
    )
)
def test_a_form_is_read_or_refused(form: tuple[str, bytes]) -> None:
    kind, body = form
    try:
        fields = parse_body(body, kind)
    except UnreadableError:
        return

    if isinstance(fields, dict) and not body.lstrip().startswith(b"{"):
        assert 0 < len(fields) <= FIELDS_MAX
        assert all(isinstance(value, str | int | None) for value in fields.values())
        assert all(abs(value) < 10**18 for value in fields.values() if isinstance(value, int))


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize(
    "nested", ["multipart/mixed; boundary=b{0}", "message/rfc822", "Multipart/Mixed;\r\n boundary=b{0}"]
)
def test_parts_within_parts_are_no_form(nested: str, end: str) -> None:
    levels = "".join(f"--b{n}{end}Content-Type: {nested.format(n + 1)}{end}{end}" for n in range(3_000))

    with pytest.raises(UnreadableError, match="named texts in a multipart form"):
        parse_body(levels.encode(), f"{MULTIPART}; boundary=b0")


def test_brackets_in_the_head_of_a_part_are_no_form() -> None:
    head = "Content-Disposition: form-data; name=" + "(" * 5_000 + ")" * 5_000

    with pytest.raises(UnreadableError, match="multipart form"):
        parse_body(f"--b\r\n{head}\r\n\r\n1\r\n--b--\r\n".encode(), f"{MULTIPART}; boundary=b")


def _read(body: bytes, content_type: str, **headers: str) -> list[Received]:
    given_headers = {"content-type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return read_cloudevents(headers=given_headers, body=body, sources=SOURCES)


def _judge(one: Received) -> None:
    words = (one.routing_key, one.message_id, *one.headers, *one.headers.values())
    assert one.source in SOURCES
    assert all(is_storable(word) for word in words)
    assert all(0 < len(word.encode()) <= 255 for word in (one.routing_key, one.message_id))
    assert one.timestamp is None or one.timestamp.tzinfo is UTC
    assert len(one.traceparent) in (0, 55)


@fuzz(20)
@given(mutated_json(EVENTS) | mutated([json.dumps(one).encode() for one in EVENTS]))
def test_a_structured_event_keeps_the_bytes_of_its_data_or_is_refused(body: bytes) -> None:
    try:
        (one,) = _read(body, STRUCTURED)
    except UnreadableError as error:
        expect(str(error))
        return

    _judge(one)
    data = parse_json(body)
    if "data" in data and is_json(one.content_type):
        assert repr(parse_json(one.body)) == repr(data["data"])
        assert one.body in body


@fuzz(15)
@given(mutated_json([EVENTS, EVENTS[:1] * 3, [[EVENTS[0]]]]))
def test_a_batch_is_read_whole_or_refused_whole(body: bytes) -> None:
    try:
        events = _read(body, BATCHED)
    except UnreadableError:
        return

    assert len(events) == len(parse_json(body)) <= EVENTS_PER_BATCH_MAX
    for one in events:
        _judge(one)


@fuzz(20)
@given(header_texts, header_texts, header_texts, st.sampled_from(ODD_LITERALS), st.binary(max_size=20))
def test_a_binary_event_takes_any_headers_or_refuses_them(
    id_: str, type_: str, more: str, time: str, body: bytes
) -> None:
    headers = {"ce_specversion": "1.0", "ce_source": "loymax", "ce_id": id_, "ce_type": type_, "ce_tenant": more}
    for further in ({}, {"ce_time": time.strip('"')}, {"traceparent": more}):
        try:
            (one,) = _read(body, more, **headers, **further)
        except UnreadableError:
            continue
        _judge(one)
        assert one.body == body


@fuzz(30)
@given(
    st.lists(
        st.tuples(header_texts | st.sampled_from(("x-a", "X-Signature", "x-api-key", "via")), header_texts),
        max_size=120,
    )
)
def test_headers_that_are_kept_can_be_stored_and_open_no_door(pairs: list[tuple[str, str]]) -> None:
    kept, left_out = usable_headers(pairs)
    for headers in (kept, _clean(pairs)):
        assert len(headers) <= HEADERS_MAX
        assert sum(len(name) + len(value) for name, value in headers.items()) <= 2 * HEADERS_BYTES_MAX
        assert all(is_storable(name) and is_storable(value) for name, value in headers.items())
        assert not any(is_secret(name) for name in headers)
    assert 0 <= left_out <= len(pairs)


def _clean(pairs: list[tuple[str, str]]) -> dict[str, str]:
    try:
        return clean_headers(pairs)
    except UnreadableError as error:
        expect((error.field or "").startswith("headers"))
        return {}


def _texts(value: Any) -> list[str]:
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, str) else [text for one in inner for text in _texts(one)]


def _numbers(value: Any) -> list[Decimal]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] if isinstance(value, Decimal) else [number for one in inner for number in _numbers(one)]
