"""Our own reading and writing of AMQP frames says what the library's says, however the bytes arrive."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pamqp.frame
import pytest
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from hub.transports.rabbit.intake import Intake
from hub.transports.rabbit.messages import Arrived
from hub.transports.rabbit.properties import UNREADABLE, header_frame, read_header, read_properties

ENVELOPE = slice(7, -1)
names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)
texts = st.text(st.characters(codec="utf-8"), max_size=60)
seconds = st.integers(0, 4_000_000_000)
values: st.SearchStrategy[Any] = st.recursive(
    texts | st.booleans() | st.integers(-(2**31), 2**31 - 1) | st.binary(max_size=9).map(bytearray) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=4,
)


@given(
    message_id=texts.filter(lambda text: 0 < len(text.encode()) < 256),
    content_type=texts.filter(lambda text: len(text.encode()) < 256),
    headers=st.dictionaries(names, texts, max_size=5),
    size=st.integers(0, 2**40),
)
def test_a_header_frame_of_ours_says_what_the_library_would_say(
    message_id: str, content_type: str, headers: dict[str, str], size: int
) -> None:
    ours = header_frame(body_bytes=size, message_id=message_id, content_type=content_type, headers=headers, channel=7)

    consumed, channel, header = pamqp.frame.unmarshal(ours)
    assert isinstance(header, ContentHeader)
    properties = header.properties
    assert (consumed, channel, header.body_size) == (len(ours), 7, size)
    assert (properties.message_id, properties.content_type or "", properties.delivery_mode) == (
        message_id,
        content_type,
        2,
    )
    assert (properties.headers or {}) == headers
    assert properties.timestamp is not None
    assert abs((properties.timestamp - datetime.now(UTC)).total_seconds()) < 60


@given(
    message_id=st.none() | texts.filter(lambda text: len(text.encode()) < 256),
    headers=st.none() | st.dictionaries(names, values, max_size=5),
    timestamp=st.none() | seconds,
    reply_to=st.none() | st.just("replies"),
    priority=st.none() | st.integers(0, 9),
)
def test_properties_are_read_as_the_library_reads_them(
    message_id: str | None,
    headers: dict[str, Any] | None,
    timestamp: int | None,
    reply_to: str | None,
    priority: int | None,
) -> None:
    sent = spec.Basic.Properties(
        message_id=message_id,
        headers=headers,
        timestamp=datetime.fromtimestamp(timestamp, UTC) if timestamp is not None else None,
        reply_to=reply_to,
        priority=priority,
        content_type="application/json",
    )
    frame = pamqp.frame.marshal(ContentHeader(body_size=12, properties=sent), 1)
    library = pamqp.frame.unmarshal(frame)[2]
    assert isinstance(library, ContentHeader)

    assert read_header(frame[ENVELOPE]) == (12, read_properties(library.properties))


def test_properties_that_nobody_can_read_do_not_stop_the_connection() -> None:
    frame = pamqp.frame.marshal(
        ContentHeader(body_size=3, properties=spec.Basic.Properties(headers={"a": "b"}, message_id="m")), 1
    )
    broken = bytearray(frame[ENVELOPE])
    broken[14:18] = (2**31).to_bytes(4, "big")

    size, properties = read_header(bytes(broken))

    assert (size, properties.headers, properties.message_id) == (3, UNREADABLE, None)


def test_a_time_that_no_calendar_holds_costs_neither_id_nor_headers() -> None:
    sent = spec.Basic.Properties(message_id="m", headers={"a": "b"}, timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    frame = bytearray(pamqp.frame.marshal(ContentHeader(body_size=3, properties=sent), 1)[ENVELOPE])
    frame[-8:] = (1_790_000_000_000_000_000).to_bytes(8, "big")

    _, properties = read_header(bytes(frame))

    assert (properties.message_id, properties.headers, properties.timestamp) == ("m", {"a": "b"}, None)


def deliver(tag: int, body: bytes, *, channel: int, room: int = 9) -> bytes:
    parts = [body[at : at + room] for at in range(0, len(body), room)]
    frames: list[Any] = [
        spec.Basic.Deliver(
            consumer_tag="hub", delivery_tag=tag, redelivered=tag % 2 == 0, exchange="x", routing_key=f"key.{tag}"
        ),
        ContentHeader(body_size=len(body), properties=spec.Basic.Properties(message_id=f"m{tag}")),
        *(ContentBody(part) for part in parts),
    ]
    return b"".join(pamqp.frame.marshal(frame, channel) for frame in frames)


class Reader:
    """Hands out the bytes in the pieces given, then says that the connection is closed."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def read(self, _most: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


async def everything(intake: Intake) -> list[tuple[int, int, Any]]:
    """What the library gets to see until the connection ends."""
    found = []
    with suppress(AMQPConnectionError):
        while True:
            found.append(await intake.get_frame())
    return found


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.lists(st.integers(0, 900), max_size=12), st.data())
async def test_messages_arrive_whole_however_the_bytes_are_cut(
    bodies: list[bytes], cuts: list[int], data: st.DataObject
) -> None:
    other = [pamqp.frame.marshal(spec.Basic.Ack(delivery_tag=9), 2), pamqp.frame.marshal(Heartbeat(), 0)]
    streams = [deliver(tag, body, channel=1) for tag, body in enumerate(bodies, start=1)]
    stream = b"".join(part for one in streams for part in (data.draw(st.sampled_from([*other, b""])), one))
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(places)]
    taken: list[Arrived] = []
    intake = Intake(Reader(pieces))
    intake.take_from(1, taken.append)

    passed_on = await everything(intake)

    assert [(one.delivery_tag, one.body, one.routing_key, one.redelivered) for one in taken] == [
        (tag, body, f"key.{tag}", tag % 2 == 0) for tag, body in enumerate(bodies, start=1)
    ]
    assert [one.properties.message_id for one in taken] == [f"m{tag}" for tag in range(1, len(bodies) + 1)]
    acks = [frame for _, channel, frame in passed_on if channel == 2]
    assert len(acks) == stream.count(other[0])


async def test_a_second_queue_of_one_reader_does_not_cut_a_message_of_the_first() -> None:
    stream = deliver(1, b"a long body", channel=1)
    taken: list[Arrived] = []
    take = taken.append
    intake = Intake(Reader([]))
    intake.take_from(1, take)
    intake.feed(stream[: len(stream) // 2])

    intake.take_from(1, take)
    intake.feed(stream[len(stream) // 2 :])

    assert [one.body for one in taken] == [b"a long body"]


async def test_deliveries_of_channels_that_did_not_ask_go_the_library_s_way() -> None:
    taken: list[Arrived] = []
    intake = Intake(Reader([deliver(1, b"body", channel=2)]))
    intake.take_from(1, taken.append)

    kinds = [type((await intake.get_frame())[2]).__name__ for _ in range(3)]

    assert kinds == ["Deliver", "ContentHeader", "ContentBody"]
    assert taken == []


async def test_a_frame_that_ends_elsewhere_ends_the_connection() -> None:
    broken = bytearray(deliver(1, b"body", channel=1))
    broken[-1] = 0
    intake = Intake(Reader([bytes(broken)]))

    with pytest.raises(InvalidFrameError):
        await intake.get_frame()
