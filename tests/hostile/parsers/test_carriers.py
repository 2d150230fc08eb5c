"""Messages as brokers hand them out: AMQP frames and properties, Pub/Sub's attributes."""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pamqp.frame
import pytest
from aiormq.exceptions import InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from hub.errors import ConfigError
from hub.headers import usable_headers
from hub.transports.base import Delivered, OutboundMessage
from hub.transports.pubsub.address import PubSubAddress
from hub.transports.pubsub.messages import PubsubMessage, from_pubsub, limit_problem, tag_of, to_pubsub
from hub.transports.rabbit.intake import Intake
from hub.transports.rabbit.messages import Arrived
from hub.transports.rabbit.properties import UNREADABLE, Properties, header_frame, read_header
from hub.transports.rabbit.reading import _queued
from tests.hostile.parsers.inputs import expect, fuzz, is_storable, mutated, mutated_text, odd_texts

ENVELOPE = slice(7, -1)
SENT: list[dict[str, Any]] = [
    {"message_id": "m-1", "headers": {"a": "b", "x-delivery-count": 3}, "content_type": "application/json"},
    {"headers": {"deep": {"er": [1, True, None, {"x": datetime(2026, 1, 1, tzinfo=UTC)}]}}, "reply_to": "replies"},
    {"message_id": "m-2", "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "priority": 4, "headers": {"a": "b" * 300}},
    {},
]
FRAMES = [pamqp.frame.marshal(ContentHeader(body_size=4, properties=spec.Basic.Properties(**one)), 1) for one in SENT]
DELIVERIES = [
    pamqp.frame.marshal(spec.Basic.Deliver("tag", number, False, "x", "card.link"), 1)
    + frame
    + pamqp.frame.marshal(ContentBody(b"body"), 1)
    for number, frame in enumerate(FRAMES)
]


def tables(levels: int) -> bytes:
    """A table in a table in a table."""
    table = b""
    for _ in range(levels):
        table = b"\x01aF" + struct.pack(">I", len(table)) + table
    return struct.pack(">HHQH", 60, 0, 4, 1 << 13) + struct.pack(">I", len(table)) + table


def bodies_in_frames(stream: bytes) -> list[bytes]:
    """What the body frames of channel 1 hold, one after the other, as far as these are frames."""
    bodies, at = [], 0
    while at + ENVELOPE.start <= len(stream):
        kind, channel, size = struct.unpack_from(">BHI", stream, at)
        start, end = at + ENVELOPE.start, at + ENVELOPE.start + size
        if stream[end : end + 1] != b"\xce":
            break
        if (kind, channel) == (3, 1):
            bodies.append(stream[start:end])
        at = end + 1
    return bodies


def _judge(properties: Properties) -> None:
    words = (properties.content_type, properties.message_id or "", *properties.headers, *properties.headers.values())
    assert all(isinstance(word, str) for word in words)
    assert all(is_storable(word.replace("\x00", "")) for word in words)
    assert properties.timestamp is None or properties.timestamp.tzinfo is not None
    kept, _ = usable_headers(properties.headers.items())
    assert all(is_storable(value) for value in kept.values())


@fuzz(60)
@given(mutated([frame[ENVELOPE] for frame in FRAMES]))
def test_properties_are_read_or_said_to_be_unreadable(frame: bytes) -> None:
    try:
        size, properties = read_header(frame)
    except struct.error:
        assert len(frame) < 14
        return

    assert size == int.from_bytes(frame[4:12], "big")
    _judge(properties)


@pytest.mark.parametrize("levels", [10, 900, 9_000])
def test_tables_within_tables_neither_stop_the_reading_nor_come_again_for_ever(levels: int) -> None:
    size, properties = read_header(tables(levels))

    assert size == 4
    assert (properties.headers == UNREADABLE) == (levels > 100)


@fuzz(40)
@given(mutated(DELIVERIES), mutated([b"".join(DELIVERIES)]), st.integers(0, 400))
def test_any_frames_are_messages_or_end_the_connection_as_a_broken_one(one: bytes, many: bytes, cut: int) -> None:
    for stream in (one, many):
        taken: list[Arrived] = []
        intake = Intake(None)
        intake.take_from(1, taken.append)
        with suppress(InvalidFrameError):
            intake.feed(stream[:cut])
            intake.feed(stream[cut:])
        bodies = bodies_in_frames(stream)
        whole = {b"".join(bodies[i:j]) for i in range(len(bodies) + 1) for j in range(i, len(bodies) + 1)}
        for message in taken:
            assert is_storable(message.routing_key.replace("\x00", ""))
            _judge(message.properties)
            assert message.body in whole


@fuzz(20)
@given(odd_texts, odd_texts, st.dictionaries(odd_texts, odd_texts, max_size=3))
def test_what_goes_out_is_put_into_frames_or_refused_before_the_broker_sees_it(
    id_: str, type_: str, headers: dict[str, str]
) -> None:
    try:
        frame = header_frame(body_bytes=1, message_id=id_, content_type=type_, headers=headers, channel=1)
    except (ValueError, TypeError, struct.error):
        return

    _, properties = read_header(frame[ENVELOPE])
    assert (properties.message_id or "", properties.content_type, properties.headers) == (id_, type_, headers)


@fuzz(20)
@given(odd_texts | st.sampled_from(("7", "0", "999999999", "1000000000")))
def test_a_count_is_taken_from_digits_alone_whoever_has_written_it(count: str) -> None:
    one = Delivered(
        tag=1,
        message_id="m",
        routing_key="a",
        content_type="",
        payload=b"",
        headers={"x-delivery-count": count},
        redelivered=True,
        timestamp=None,
    )

    is_count = count.isascii() and count.isdigit() and len(count) < 10
    assert _queued(1, one).deliveries == (int(count) if is_count else 1)


proto_texts = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ("", "\x00", "routing_key", "header:a", "googclient")
)


@fuzz(30)
@given(
    key=proto_texts,
    id_=proto_texts.filter(bool),
    headers=st.dictionaries(proto_texts, proto_texts, max_size=4),
    payload=st.binary(max_size=30),
)
def test_a_message_comes_out_of_pubsub_as_it_went_in(
    key: str, id_: str, headers: dict[str, str], payload: bytes
) -> None:
    sent = OutboundMessage(
        message_id=id_,
        exchange="x",
        routing_key=key,
        content_type="text/plain",
        headers=headers,
        payload=payload,
        key=key or id_,
    )
    message = to_pubsub(sent)
    limit_problem(message)

    got = from_pubsub(SimpleNamespace(message=message, delivery_attempt=1))

    assert (got.message_id, got.routing_key, got.content_type, got.payload) == (id_, key, "text/plain", payload)
    assert got.headers == headers


@fuzz(20)
@given(
    st.dictionaries(proto_texts, proto_texts, max_size=5),
    st.binary(max_size=20),
    proto_texts | st.sampled_from(("7", "0", "07", "-7")),
    st.integers(-(2**31), 2**31 - 1),
)
def test_any_message_of_pubsub_is_read(attributes: dict[str, str], data: bytes, broker_id: str, attempt: int) -> None:
    message = PubsubMessage(data=data, attributes=attributes, message_id=broker_id)

    got = from_pubsub(SimpleNamespace(message=message, delivery_attempt=attempt))

    assert got.payload == data
    # Two ids have two tags: digits are their own, and all others are below zero.
    assert got.tag == tag_of(broker_id)
    assert (got.tag > 0) == (str(got.tag) == broker_id)


@fuzz(30)
@given(mutated_text(["pubsub://shop-123?create=no&ack_deadline_s=60&endpoint=a:443&outstanding_bytes=2000000"]))
def test_an_address_of_pubsub_is_read_or_every_mistake_is_told(text: str) -> None:
    try:
        found = PubSubAddress.parse(text)
    except ConfigError as error:
        expect(all(str(problem).startswith("HUB_BROKER_URL: ") for problem in error.problems))
        return

    assert found.project
    assert 10 <= found.ack_deadline_s <= 600


@pytest.mark.parametrize("text", ["pubsub://[shop-123", "pubsub://shop]", "pubsub://shop\u2100"])
def test_what_is_no_address_is_a_mistake_of_the_setting(text: str) -> None:
    with pytest.raises(ConfigError, match="HUB_BROKER_URL: expected pubsub://PROJECT"):
        PubSubAddress.parse(text)
