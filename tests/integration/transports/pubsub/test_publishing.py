"""What the hub publishes, and what it makes of each answer."""

from __future__ import annotations

import grpc  # type: ignore[import-untyped]
import pytest

from hub.transports import (
    Binding,
    Confirmed,
    NotConfirmed,
    QueueSpec,
    Topology,
    TransportUnavailableError,
    Unroutable,
)
from hub.transports.pubsub import PubSubTransport
from tests.integration.transports.pubsub.conftest import Connect
from tests.integration.transports.pubsub.shop import held, message, published, topology, unkeyed
from tests.support.pubsub_server import PubSubServer
from tests.support.pubsub_server.faults import When

CODE = grpc.StatusCode


def has_key(key: str) -> When:
    return lambda request: request.messages[0].ordering_key == key


async def test_properties_and_headers_are_attributes_and_the_key_orders(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(topology())
    sent = message("order.paid", key="customer 7", body=b"\x00\xff", headers={"x-a": "1", "message_id": "theirs"})

    assert await transport.publish([sent]) == [Confirmed()]

    (stored,) = server.state.published
    assert (stored.data, stored.ordering_key) == (b"\x00\xff", "customer 7")
    assert dict(stored.attributes) == {
        "routing_key": "order.paid",
        "message_id": sent.message_id,
        "content_type": "application/json",
        "x-a": "1",
        "header:message_id": "theirs",
    }


async def test_a_queue_of_its_own_exchange_is_a_topic_and_a_subscription_of_its_name(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(Topology.of([QueueSpec("invoices")], [Binding("hub.invoices", "invoices", "#")]))

    assert await transport.publish([message(exchange="hub.invoices")]) == [Confirmed()]
    assert await transport.publish([message("invoices", exchange="")]) == [Confirmed()]

    assert list(server.state.topics) == ["projects/shop/topics/invoices"]
    assert len(held(server, "invoices").entries) == 2


async def test_messages_of_one_key_share_a_request_and_so_do_those_without_a_key(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(topology())
    sent = [message(key="a") for _ in range(30)] + [unkeyed() for _ in range(40)] + [message(key="b")]

    assert set(await transport.publish(sent)) == {Confirmed()}

    sizes = sorted(len(request.messages) for request in server.requests("Publish"))
    assert sizes == [1, 30, 40]
    assert [one for one in server.state.published if not one.ordering_key]


async def test_a_request_never_grows_beyond_what_pubsub_takes(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    large = [message(key="a", body=b"x" * 4_000_000) for _ in range(5)]
    many = [unkeyed() for _ in range(1_200)]

    assert set(await transport.publish([*large, *many])) == {Confirmed()}

    assert [one for one in published(server) if one in {m.message_id for m in large}] == [m.message_id for m in large]


async def test_a_topic_that_lost_its_subscription_takes_nothing_more(server: PubSubServer, connect: Connect) -> None:
    transport = connect(watch_s=0.0)
    await transport.declare(topology())
    server.state.delete_subscription(held(server).config.name)
    assert not await transport.healthy()
    assert "shop.events" in await transport.state()

    (refused,) = await transport.publish([message()])

    assert isinstance(refused, Unroutable)
    assert "has no subscription" in refused.reason
    assert server.state.published == []
    # As soon as somebody reads it again, it goes.
    await connect().declare(topology())
    assert await transport.publish([message()]) == [Confirmed()]
    assert await transport.healthy()


async def test_a_topic_that_is_not_there_is_unroutable(transport: PubSubTransport) -> None:
    (refused,) = await transport.publish([message(exchange="nowhere")])

    assert isinstance(refused, Unroutable)
    assert "nowhere" in refused.reason


async def test_what_no_pattern_takes_is_unroutable_unless_somebody_else_reads_the_topic(
    server: PubSubServer, connect: Connect
) -> None:
    transport = connect(watch_s=0.0)
    await transport.declare(topology("order.*"))
    lost, behind, other = message("card.lost", key="a"), message(key="a"), message(key="b")

    unroutable, held_back, confirmed = await transport.publish([lost, behind, other])

    assert isinstance(unroutable, Unroutable)
    assert isinstance(held_back, NotConfirmed)
    assert not held_back.was_tried
    assert confirmed == Confirmed()
    assert published(server) == [other.message_id]

    theirs = type(held(server).config)()
    theirs.CopyFrom(held(server).config)
    theirs.name = "projects/theirs/subscriptions/audit"
    server.state.create_subscription(theirs)
    assert await transport.publish([lost, behind]) == [Confirmed(), Confirmed()]


async def test_a_refused_key_stops_and_no_other_does(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    server.faults.fail("Publish", CODE.RESOURCE_EXHAUSTED, when=has_key("a"))
    first = [message(key="a", body=b"x" * 6_000_000), message(key="a", body=b"x" * 6_000_000), message(key="b")]

    results = await transport.publish(first)

    assert isinstance(results[0], NotConfirmed)
    assert results[0].was_tried
    assert "RESOURCE_EXHAUSTED" in results[0].reason
    assert isinstance(results[1], NotConfirmed)
    assert not results[1].was_tried
    assert results[2] == Confirmed()
    # The relay sends again from the first one on; the key is not stuck.
    assert await transport.publish(first[:2]) == [Confirmed()] * 2
    assert published(server) == [one.message_id for one in (first[2], first[0], first[1])]


async def test_a_lost_answer_makes_repeats_behind_a_prefix(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    server.faults.lose_answer("Publish", CODE.INTERNAL)
    sent = [message(), message()]

    assert all(isinstance(one, NotConfirmed) for one in await transport.publish(sent))
    assert await transport.publish(sent) == [Confirmed()] * 2

    assert published(server) == [sent[0].message_id, sent[1].message_id] * 2


async def test_a_server_that_is_being_replaced_is_no_outage(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    fault = server.faults.fail("Publish", CODE.UNAVAILABLE, times=2)

    assert await transport.publish([message()]) == [Confirmed()]
    assert fault.met == 2


@pytest.mark.parametrize("code", [CODE.UNAVAILABLE, CODE.UNAUTHENTICATED])
async def test_a_broker_that_is_away_is_held_against_no_message(
    transport: PubSubTransport, server: PubSubServer, code: object
) -> None:
    await transport.declare(topology())
    server.faults.fail("Publish", code, times=None)

    with pytest.raises(TransportUnavailableError):
        await transport.publish([message(key=str(number)) for number in range(10)])

    server.faults.clear()
    await server.stop()
    with pytest.raises(TransportUnavailableError):
        await transport.publish([message()])
    assert not await transport.healthy()
    assert "does not answer" in await transport.state()


async def test_a_server_that_comes_back_is_found_again(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    await server.stop()
    with pytest.raises(TransportUnavailableError):
        await transport.publish([message()])

    await server.start()

    for _ in range(50):
        try:
            assert await transport.publish([message()]) == [Confirmed()]
            break
        except TransportUnavailableError:
            continue
    else:
        pytest.fail("it was not found again")


async def test_an_answer_that_is_late_is_not_waited_for(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    await transport.publish([message()])
    server.faults.delay_s = 30.0

    results = await transport.publish([message(key="a"), message(key="b")], timeout_s=0.3)

    assert all(isinstance(one, NotConfirmed) and one.was_tried for one in results)


async def test_what_pubsub_can_never_take_is_named_and_its_neighbours_go(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(topology())
    long_header, too_large, too_many = (
        unkeyed(headers={"x-long": "y" * 1_025}),
        unkeyed(body=b"x" * 10_000_001),
        unkeyed(headers={f"x-{number}": "" for number in range(98)}),
    )
    fine = unkeyed()

    results = await transport.publish([long_header, too_large, fine, too_many])

    assert results[2] == Confirmed()
    reasons = [one.reason for one in results if isinstance(one, Unroutable)]
    assert ["x-long" in reasons[0], "bytes" in reasons[1], "attributes" in reasons[2]] == [True] * 3
    assert published(server) == [fine.message_id]


async def test_the_one_at_fault_in_a_request_is_searched_for(transport: PubSubTransport, server: PubSubServer) -> None:
    """A limit that the hub does not know: the server refuses the request as a whole."""
    await transport.declare(topology())
    server.faults.fail(
        "Publish", CODE.INVALID_ARGUMENT, times=None, when=lambda r: b"bad" in [one.data for one in r.messages]
    )
    keyed = [message(key="a"), message(key="a", body=b"bad"), message(key="a")]
    free = [unkeyed(), unkeyed(body=b"bad"), unkeyed()]

    results = await transport.publish([*keyed, *free])

    kinds = [type(one) for one in results]
    assert kinds == [Confirmed, Unroutable, NotConfirmed, Confirmed, Unroutable, Confirmed]


async def test_a_long_key_still_orders(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    key = "ключ" * 500

    assert await transport.publish([message(key=key), message(key=key)]) == [Confirmed()] * 2

    assert len({one.ordering_key for one in server.state.published}) == 1
    assert len(server.state.published[0].ordering_key) == 64
