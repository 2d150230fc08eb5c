"""The parts of the Pub/Sub transport that need no broker: its address, its layout, its messages, what is in hand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.pubsub_v1 import types
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import ConfigError
from hub.transports import Binding, OutboundMessage, QueueSpec, Topology
from hub.transports.pubsub import PubSubAddress
from hub.transports.pubsub.hand import Hand
from hub.transports.pubsub.layout import Layout
from hub.transports.pubsub.messages import from_pubsub, tag_of, to_pubsub

ReceivedMessage = types.ReceivedMessage.pb()
PubsubMessage = types.PubsubMessage.pb()


def test_an_address_names_the_project_and_may_say_more() -> None:
    assert PubSubAddress.parse("pubsub://my-project") == PubSubAddress(project="my-project")
    assert PubSubAddress.parse(
        "pubsub://example.com:my-project?create=no&exactly_once=yes&ack_deadline_s=600&outstanding_messages=50"
        "&endpoint=europe-west1-pubsub.googleapis.com:443"
    ) == PubSubAddress(
        project="example.com:my-project",
        create=False,
        exactly_once=True,
        ack_deadline_s=600,
        outstanding_messages=50,
        endpoint="europe-west1-pubsub.googleapis.com:443",
    )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("pubsub://", "expected pubsub://PROJECT"),
        ("pubsub://Shop", "expected pubsub://PROJECT"),
        ("pubsub://shop/topic", "expected pubsub://PROJECT"),
        ("pubsub://shop?exactly-once=yes", "did you mean 'exactly_once'?"),
        ("pubsub://shop?create=maybe", "create: expected yes or no, found 'maybe'"),
        ("pubsub://shop?ack_deadline_s=5", "ack_deadline_s: expected a number from 10 to 600, found '5'"),
        ("pubsub://shop?outstanding_messages=-1", "outstanding_messages: expected a number"),
    ],
)
def test_a_mistake_in_the_address_is_named(address: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        PubSubAddress.parse(address)

    assert words in str(refused.value)


def test_all_mistakes_of_an_address_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        PubSubAddress.parse("pubsub://SHOP?x=1&create=2")

    assert len(refused.value.problems) == 3


def test_an_exchange_is_a_topic_and_a_queue_a_subscription_on_it() -> None:
    layout = Layout.of(
        Topology.of(
            [QueueSpec("invoices"), QueueSpec("crm"), QueueSpec("hub.in", single_consumer=True), QueueSpec("lone")],
            [
                Binding("hub.invoices", "invoices", "#"),
                Binding("events", "crm", "order.#"),
                Binding("events", "crm", "card.*"),
                Binding("upstream", "hub.in", "#"),
            ],
        )
    )

    assert layout.topics == ("events", "invoices", "lone", "upstream")
    assert {(one.name, one.topic, one.patterns) for one in layout.subscriptions} == {
        ("invoices", "invoices", ()),
        ("crm", "events", ("card.*", "order.#")),
        ("hub.in", "upstream", ()),
        ("lone", "lone", ()),
    }
    assert layout.topic_of("hub.invoices", "x") == "invoices"
    assert layout.topic_of("events", "x") == "events"
    assert [layout.takes("crm", key) for key in ("order.paid.late", "card.lost", "card", "")] == [
        True,
        True,
        False,
        False,
    ]
    assert layout.takes("invoices", "")
    assert layout.takes("unknown", "anything")


def test_an_own_exchange_with_more_than_its_queue_is_an_exchange() -> None:
    layout = Layout.of(Topology.of([QueueSpec("a-queue")], [Binding("hub.a-queue", "a-queue", "order.#")]))

    assert layout.topics == ("hub.a-queue",)


@pytest.mark.parametrize(
    ("topology", "words"),
    [
        (
            Topology.of([QueueSpec("crm")], [Binding("one", "crm", "#"), Binding("two", "crm", "#")]),
            "queue crm: bound to one and two",
        ),
        (
            Topology.of(
                [QueueSpec("crm"), QueueSpec("x.y")], [Binding("hub.crm", "crm", "#"), Binding("crm", "x.y", "#")]
            ),
            "topic crm would stand for both",
        ),
        (Topology.of([QueueSpec("заказы")], []), "cannot be a topic or subscription"),
        (Topology.of([QueueSpec("google-in")], []), "not with goog"),
        (Topology.of([QueueSpec("ab")], []), "expected 3 to 255 letters"),
    ],
)
def test_what_pubsub_cannot_be_is_refused(topology: Topology, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Layout.of(topology)

    assert words in str(refused.value)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(texts, texts, texts, st.dictionaries(texts.filter(bool), texts, max_size=5), st.binary(max_size=50))
def test_a_message_comes_back_as_it_went(
    routing_key: str, message_id: str, content_type: str, headers: dict[str, str], payload: bytes
) -> None:
    headers |= {"routing_key": "theirs", "googclient": "theirs", "header:x": "theirs"}
    sent = OutboundMessage(
        message_id=message_id,
        exchange="e",
        routing_key=routing_key,
        content_type=content_type,
        payload=payload,
        headers=headers,
        key="k",
    )

    packed = PubsubMessage.FromString(to_pubsub(sent).SerializeToString())
    packed.message_id = "7"
    came = from_pubsub(ReceivedMessage(message=packed))

    assert (came.routing_key, came.message_id, came.content_type) == (routing_key, message_id, content_type)
    assert (came.payload, came.headers, came.tag) == (payload, headers, 7)
    assert not any(name.startswith("goog") for name in packed.attributes)


def test_no_two_ids_of_the_broker_have_one_tag() -> None:
    ids = ["7", "07", "7 ", "seven", "", "٧", "19916711285"]

    assert len({tag_of(one) for one in ids}) == len(ids)
    assert tag_of("19916711285") == 19916711285


async def test_a_full_hand_has_no_room_until_something_is_let_go() -> None:
    hand = Hand(messages_max=3, bytes_max=100)
    hand.add([_received(number, b"x" * 10) for number in range(3)])
    waiting = asyncio.create_task(hand.room())
    await asyncio.sleep(0)
    assert not waiting.done()

    hand.let_go(hand.next_batch(1))

    async with asyncio.timeout(5):
        await waiting
    hand.add([_received(7, b"x" * 90)])
    assert not hand._has_room.is_set()


async def test_what_comes_again_while_in_hand_only_renews_its_ack_id() -> None:
    hand = Hand(messages_max=10, bytes_max=100)
    hand.add([_received(1), _received(2)])
    (first,) = hand.next_batch(1)

    hand.add([_received(1, ack_id="newer"), _received(2, ack_id="newer too")])

    assert first.ack_id == "newer"
    assert [held.ack_id for held in hand.next_batch(10)] == ["newer too"]
    assert hand.next_batch(10) == []


async def test_a_lost_lease_takes_only_what_nobody_works_on() -> None:
    hand = Hand(messages_max=10, bytes_max=100)
    hand.add([_received(1), _received(2), _received(3)])
    working = hand.next_batch(1)

    hand.lose(["a1", "a2"])

    assert [held.ack_id for held in working] == ["a1"]
    assert [held.ack_id for held in hand.next_batch(10)] == ["a3"]
    assert not hand.arrived.is_set()
    # Latest first, so that a key comes again from its first message on.
    assert hand.give_back() == ["a3", "a1"]
    assert len(hand) == 0


def _received(number: int, data: bytes = b"{}", *, ack_id: str = "") -> Any:
    message = PubsubMessage(data=data, message_id=str(number))
    return ReceivedMessage(ack_id=ack_id or f"a{number}", message=message)
