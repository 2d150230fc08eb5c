"""CloudEvents in their three forms, and the exact bytes of their data."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import UnreadableError
from hub.inbox.received import Received
from hub.ingress.cloudevents import (
    BATCHED,
    EVENTS_PER_BATCH_MAX,
    STRUCTURED,
    UnsupportedFormatError,
    read_cloudevents,
)

SOURCES = ("loymax", "shop")
EVENT = '"specversion": "1.0", "id": "e-1", "source": "loymax", "type": "purchases.confirm"'


def read(body: str | bytes, content_type: str = STRUCTURED, **headers: str) -> list[Received]:
    data = body.encode() if isinstance(body, str) else body
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_cloudevents(headers={"content-type": content_type, **names}, body=data, sources=SOURCES)


def test_a_structured_event_becomes_a_message() -> None:
    [message] = read(
        f'{{{EVENT}, "time": "2026-01-31T16:30:00.5+07:00", "tenant": "vn", "attempt": 2, "test": true, "data": {{}}}}'
    )

    assert message == Received(
        source="loymax",
        body=b"{}",
        content_type="application/json",
        headers={"tenant": "vn", "attempt": "2", "test": "true"},
        routing_key="purchases.confirm",
        message_id="e-1",
        timestamp=datetime(2026, 1, 31, 9, 30, 0, 500_000, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "data",
    [
        '{ "a" : 1.50,\n\t"data": {"data": [1, 2]} , "ü": "\\u00fc \\" } , data" }',
        "[ 1e400 , -0.0 ,12345678901234567890.10 ]",
        '"text \\\\"',
        "null",
        "0.10",
        "true",
    ],
)
@pytest.mark.parametrize("place", ["first", "last", "middle"])
def test_the_payload_is_the_exact_bytes_of_data(data: str, place: str) -> None:
    member = f'"data" :\n {data}'
    text = {
        "first": f"{{{member} , {EVENT}}}",
        "last": f" {{{EVENT}, {member}\t}}\n",
        "middle": f'{{"x": "\\"data\\": 1", {member},{EVENT}}}',
    }[place]
    if "e400" in data:
        data = data.replace("1e400", "1e40")
        text = text.replace("1e400", "1e40")

    assert read(text)[0].body == data.encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    values=st.lists(json_values, max_size=4),
    indent=st.sampled_from([None, 0, 3]),
    is_ascii=st.booleans(),
    extra=st.text(max_size=10),
)
def test_every_event_of_a_batch_keeps_its_bytes(
    values: list[object], indent: int | None, is_ascii: bool, extra: str
) -> None:
    texts = [json.dumps(value, indent=indent, ensure_ascii=is_ascii) for value in values]
    note = json.dumps(extra.replace("\x7f", "").translate(dict.fromkeys(range(32))))
    events = [f'{{{EVENT}, "note": {note}, "data":{text} }}' for text in texts]

    messages = read("[" + ",\n".join(events) + "]", BATCHED)

    assert [message.body for message in messages] == [text.encode() for text in texts]


def test_data_in_base64_is_decoded_and_text_of_another_type_is_taken_as_text() -> None:
    raw = bytes(range(256))
    [binary] = read(f'{{{EVENT}, "data_base64": "{base64.b64encode(raw).decode()}"}}')
    [xml] = read(f'{{{EVENT}, "datacontenttype": "application/xml", "data": "<a>\\u00fc</a>"}}')
    [vendor] = read(f'{{{EVENT}, "datacontenttype": "application/vnd.x+json; v=1", "data": "text"}}')

    assert binary.body == raw
    assert (xml.body, xml.content_type) == ("<a>ü</a>".encode(), "application/xml")
    assert vendor.body == b'"text"'


def test_the_binary_form_takes_the_body_as_it_is() -> None:
    body = b'{ "a" : 1.0 }\n'
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    [message] = read(
        body,
        "application/json; charset=utf-8",
        ce_specversion="1.0",
        ce_id="e%201",
        ce_source="shop",
        ce_type="order.placed",
        ce_time="2026-01-31T09:30:00Z",
        ce_tenant="Euro%20%E2%82%AC",
        authorization="Bearer secret",
        traceparent=trace,
    )

    assert message.body == body
    assert (message.source, message.message_id, message.routing_key) == ("shop", "e 1", "order.placed")
    assert message.headers == {"tenant": "Euro €", "traceparent": trace}
    assert message.traceparent == trace
    assert message.content_type == "application/json; charset=utf-8"


def test_a_trace_context_is_taken_over_only_when_it_is_one() -> None:
    [good] = read(f'{{{EVENT}, "data": 1, "traceparent": "00-{"a" * 32}-{"b" * 16}-01"}}')
    [bad] = read(f'{{{EVENT}, "data": 1, "traceparent": "00-{"0" * 32}-{"b" * 16}-01"}}')

    assert good.traceparent == f"00-{'a' * 32}-{'b' * 16}-01"
    assert bad.traceparent == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"specversion": "0.3"}, 'specversion: expected "1.0"'),
        ({"specversion": None}, 'specversion: expected "1.0"'),
        ({"id": ""}, "id: expected text that is not empty"),
        ({"id": 5}, "id: expected text that is not empty"),
        ({"id": "x" * 256}, "id: expected at most 255 bytes"),
        ({"type": "a\nb"}, "type: expected at most 255 bytes and no control characters"),
        ({"source": "loymaks"}, "source: expected the name of a source that accepts posted events, found 'loymaks'"),
        ({"source": "loymaks"}, "did you mean 'loymax'?"),
        ({"time": "yesterday"}, "time: expected an RFC 3339 time"),
        ({"time": "2026-13-31T09:30:00Z"}, "time: expected an RFC 3339 time"),
        ({"time": "2026-01-31T09:30:00"}, "time: expected an RFC 3339 time"),
        ({"time": "0001-01-01T00:00:00+23:00"}, "time: expected an RFC 3339 time"),
        ({"Tenant": "x"}, "Tenant: expected an attribute name of lower-case letters and digits"),
        ({"tenant": {"a": 1}}, "tenant: expected text, a whole number or a boolean"),
        ({"tenant": 1.5}, "tenant: expected text, a whole number or a boolean"),
        ({"tenant": "a\r\nb"}, "tenant: expected at most"),
        ({"data_base64": "AA=="}, "data: expected the payload, in either data or data_base64"),
        ({"datacontenttype": ""}, "datacontenttype: expected text that is not empty"),
        ({f"x{number}": "a" for number in range(33)}, "event: expected at most 32 further attributes"),
    ],
)
def test_a_mistake_is_told_with_its_place(change: dict[str, Any], expected: str) -> None:
    event = {"specversion": "1.0", "id": "e-1", "source": "loymax", "type": "t", "data": {}, **change}

    with pytest.raises(UnreadableError) as caught:
        read(json.dumps(event))

    assert expected in str(caught.value)


def test_an_event_without_data_is_refused() -> None:
    with pytest.raises(UnreadableError, match="data: expected the payload"):
        read(f"{{{EVENT}}}")
    with pytest.raises(UnreadableError, match="data_base64: expected base64"):
        read(f'{{{EVENT}, "data_base64": "not base64!"}}')


def test_one_bad_event_refuses_its_whole_batch_and_is_named() -> None:
    with pytest.raises(UnreadableError, match=r"\[1\]\.id: expected text"):
        read(f'[{{{EVENT}, "data": 1}}, {{{EVENT.replace("e-1", "")}, "data": 1}}]', BATCHED)
    with pytest.raises(UnreadableError, match=r"\[0\]: expected an object"):
        read("[5]", BATCHED)
    with pytest.raises(UnreadableError, match="body: expected an array of events"):
        read("{}", BATCHED)
    with pytest.raises(UnreadableError, match=f"at most {EVENTS_PER_BATCH_MAX} events"):
        read("[" + ",".join(["{}"] * (EVENTS_PER_BATCH_MAX + 1)) + "]", BATCHED)


def test_json_is_read_strictly() -> None:
    with pytest.raises(UnreadableError, match="line 2, column"):
        read(f'{{{EVENT},\n "data": NaN}}')
    with pytest.raises(UnreadableError, match="appears twice"):
        read(f'{{{EVENT}, "data": 1, "data": 2}}')
    with pytest.raises(UnreadableError, match="expected UTF-8"):
        read(b"\xff{}")


@pytest.mark.parametrize("content_type", ["application/json", "", "text/plain", "application/cloudevents+avro"])
def test_what_is_no_cloud_event_is_told_which_forms_exist(content_type: str) -> None:
    with pytest.raises(UnsupportedFormatError, match=r"application/cloudevents\+json"):
        read("{}", content_type)


def test_a_binary_event_may_not_smuggle_data_in_a_header() -> None:
    with pytest.raises(UnreadableError, match="ce-data"):
        read(b"{}", "application/json", ce_specversion="1.0", ce_data="1")
