"""Topics and subscriptions: made, compared, refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from google.pubsub_v1 import types

from hub.errors import ConfigError
from hub.transports import (
    Binding,
    Confirmed,
    Delivered,
    PlanState,
    QueueSpec,
    Topology,
    TransportUnavailableError,
    open_transport,
)
from hub.transports.pubsub import PubSubTransport
from tests.integration.transports.pubsub.conftest import Connect
from tests.integration.transports.pubsub.shop import held, message, topology
from tests.support.clock import SettableClock
from tests.support.patience import STILL_S_MAX
from tests.support.pubsub_server import PubSubServer
from tests.support.running import until

Subscription = types.Subscription.pb()


async def test_what_is_missing_is_made_to_last_and_to_order(connect: Connect, server: PubSubServer) -> None:
    await connect(exactly_once=True, ack_deadline_s=90).declare(topology())

    made = held(server).config
    assert made.topic == "projects/shop/topics/shop.events"
    assert made.enable_message_ordering
    assert made.enable_exactly_once_delivery
    assert made.ack_deadline_seconds == 90
    assert made.message_retention_duration.seconds == 7 * 24 * 3_600
    # Present and empty: it never expires. Absent would mean after 31 quiet days.
    assert made.HasField("expiration_policy")
    assert not made.expiration_policy.HasField("ttl")


async def test_two_processes_may_declare_at_once(connect: Connect, server: PubSubServer) -> None:
    server.faults.delay_s = 0.02

    await asyncio.gather(*(connect().declare(topology()) for _ in range(4)))

    assert sorted(server.state.created) == ["projects/shop/subscriptions/orders", "projects/shop/topics/shop.events"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"enable_message_ordering": False}, "message ordering is off there, expected on"),
        ({"ack_deadline_seconds": 10}, "the ack deadline is 10 s there, expected 60 s (ack_deadline_s)"),
        ({"enable_exactly_once_delivery": True}, "exactly-once delivery is on there, expected off (exactly_once)"),
        (
            {"topic": "projects/shop/topics/elsewhere"},
            "its topic is projects/shop/topics/elsewhere there, expected projects/shop/topics/shop.events",
        ),
        ({"detached": True}, "detached"),
        ({"push_config": {"push_endpoint": "https://example.com"}}, "expected a pull subscription"),
    ],
)
async def test_what_differs_is_refused_with_both_sides(
    transport: PubSubTransport, server: PubSubServer, fields: dict[str, Any], words: str
) -> None:
    _exists(server, **fields)

    with pytest.raises(ConfigError) as refused:
        await transport.declare(topology())

    assert "subscription orders" in str(refused.value)
    assert words in str(refused.value)


async def test_a_deleted_topic_is_a_difference(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    server.state.delete_topic("projects/shop/topics/shop.events")

    with pytest.raises(ConfigError, match="_deleted-topic_"):
        await transport.declare(topology())


async def test_creation_can_be_forbidden(connect: Connect, server: PubSubServer) -> None:
    with pytest.raises(ConfigError) as refused:
        await connect(create=False).declare(topology())

    assert len(refused.value.problems) == 2
    assert "create=no" in str(refused.value)
    assert server.state.created == []
    await connect().declare(topology())
    await connect(create=False).declare(topology())


async def test_a_destination_that_nobody_reads_is_refused(transport: PubSubTransport, server: PubSubServer) -> None:
    nobody = Topology.of([], [], ["loyalty.events"])

    with pytest.raises(ConfigError, match=r"loyalty\.events: it has no subscription"):
        await transport.declare(nobody)

    theirs = Subscription(name="projects/theirs/subscriptions/audit", topic="projects/shop/topics/loyalty.events")
    server.state.create_subscription(theirs)
    await transport.declare(nobody)


async def test_a_foreign_queue_is_read_as_it_is_and_may_come_later(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    foreign = Topology.of([QueueSpec("upstream.out", single_consumer=True, is_foreign=True)], [])

    await transport.declare(foreign)

    assert server.state.created == []
    _exists(server, name="projects/shop/subscriptions/upstream.out", enable_message_ordering=False)
    with pytest.raises(ConfigError, match="`ordered: false`"):
        await transport.declare(foreign)
    await transport.declare(Topology.of([QueueSpec("upstream.out", is_foreign=True)], []))


async def test_a_hub_that_may_not_look_works_all_the_same(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    for method in ("GetTopic", "GetSubscription", "ListTopicSubscriptions"):
        server.faults.fail(method, grpc.StatusCode.PERMISSION_DENIED, times=None)

    await transport.declare(topology())

    assert await transport.publish([message()])
    assert len(held(server).entries) == 1


async def test_one_that_may_not_create_says_so(transport: PubSubTransport, server: PubSubServer) -> None:
    server.faults.fail("CreateTopic", grpc.StatusCode.PERMISSION_DENIED)

    with pytest.raises(ConfigError, match=r"topic shop\.events: .* could not be made: PERMISSION_DENIED"):
        await transport.declare(topology())


async def test_a_broker_that_is_away_is_no_mistake_of_the_file(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await server.stop()

    with pytest.raises(TransportUnavailableError):
        await transport.declare(topology())


async def test_a_hub_that_starts_while_it_is_away_declares_as_soon_as_it_can(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await server.stop()
    own = Topology.of([QueueSpec("invoices")], [Binding("hub.invoices", "invoices", "#")])
    with pytest.raises(TransportUnavailableError):
        await transport.declare(own)
    with pytest.raises(TransportUnavailableError):
        await transport.publish([message(exchange="hub.invoices")])
    arrived: list[Delivered] = []

    async def take(batch: Sequence[Delivered]) -> None:
        arrived.extend(batch)

    stopping = asyncio.Event()
    consuming = asyncio.create_task(transport.consume("invoices", take, stopping=stopping))
    await server.start()

    async def goes() -> bool:
        try:
            return await transport.publish([message(exchange="hub.invoices")]) == [Confirmed()]
        except TransportUnavailableError:
            return False

    await until(goes)
    await until(lambda: len(arrived) == 1)
    stopping.set()
    async with asyncio.timeout(STILL_S_MAX):
        await consuming
    assert await transport.healthy()


async def test_what_differs_is_told_also_when_it_is_seen_late(transport: PubSubTransport, server: PubSubServer) -> None:
    await server.stop()
    with pytest.raises(TransportUnavailableError):
        await transport.declare(topology())
    await server.start()
    _exists(server, ack_deadline_seconds=10)

    async def is_told() -> bool:
        return "10 s" in await transport.state()

    await until(is_told)
    with pytest.raises(TransportUnavailableError, match="ack deadline is 10 s"):
        await transport.publish([message()])


async def test_a_reload_while_it_is_away_changes_nothing(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    await server.stop()
    with pytest.raises(TransportUnavailableError):
        await transport.declare(topology(queue="other"))
    await server.start()

    await until(transport.healthy)

    assert "projects/shop/subscriptions/other" not in server.state.subscriptions


async def test_a_plan_says_what_would_be_done_and_does_nothing(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    wanted = Topology.of(
        [QueueSpec("orders"), QueueSpec("invoices"), QueueSpec("upstream.out", is_foreign=True)],
        [Binding("shop.events", "orders", "#"), Binding("hub.invoices", "invoices", "#")],
        ["loyalty.events"],
    )
    _exists(server, ack_deadline_seconds=10)

    items = {(one.kind, one.name): one for one in await transport.plan(wanted)}

    assert {name: one.state for name, one in items.items()} == {
        ("topic", "shop.events"): PlanState.MATCHES,
        ("topic", "invoices"): PlanState.MISSING,
        ("topic", "loyalty.events"): PlanState.DIFFERS,
        ("subscription", "orders"): PlanState.DIFFERS,
        ("subscription", "invoices"): PlanState.MISSING,
        ("subscription", "upstream.out"): PlanState.DIFFERS,
    }
    assert "10 s" in items["subscription", "orders"].detail
    assert server.state.created == ["projects/shop/topics/shop.events", "projects/shop/subscriptions/orders"]


async def test_the_setting_alone_chooses_it() -> None:
    opened = open_transport("pubsub://shop", None, SettableClock())  # type: ignore[arg-type]  # it needs no database

    assert isinstance(opened, PubSubTransport)
    await opened.close()


def _exists(server: PubSubServer, **fields: Any) -> None:
    """The queue ``orders`` as the hub makes it, but for these fields."""
    server.state.create_topic(types.Topic.pb()(name="projects/shop/topics/shop.events"))
    usual: dict[str, Any] = {
        "name": "projects/shop/subscriptions/orders",
        "topic": "projects/shop/topics/shop.events",
        "enable_message_ordering": True,
        "ack_deadline_seconds": 60,
    }
    if fields.get("topic"):
        server.state.create_topic(types.Topic.pb()(name=fields["topic"]))
    server.state.create_subscription(Subscription(**(usual | fields)))
