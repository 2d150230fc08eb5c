"""The hub's topology in RabbitMQ's words."""

from __future__ import annotations

import pytest

from hub.errors import ConfigError
from hub.transports import Binding, QueueSpec, Topology
from hub.transports.rabbit.objects import DEAD_LETTERS, objects_of

WIDE = QueueSpec("wide", partitions=3, partition_path="headers.customer")


def test_partitions_are_queues_behind_an_exchange_that_spreads() -> None:
    objects = objects_of(Topology.of([WIDE], [Binding("crm.events", "wide", "customer.#")]))

    spread = next(one for one in objects.exchanges if one.name == "wide.partitions")
    assert (spread.type.value, spread.arguments) == ("x-consistent-hash", {"hash-header": "customer"})
    assert [queue.name for queue in objects.queues] == ["wide.0", "wide.1", "wide.2", DEAD_LETTERS]
    assert all((queue.arguments or {})["x-single-active-consumer"] is True for queue in objects.queues[:3])
    [through] = objects.exchange_bindings
    assert (through.source, through.target, through.pattern) == ("crm.events", "wide.partitions", "customer.#")
    assert {one.queue for one in objects.bindings if one.exchange == "wide.partitions"} == {
        "wide.0",
        "wide.1",
        "wide.2",
    }
    assert "wide" not in {one.queue for one in objects.bindings}


def test_partitions_of_somebody_else_s_queue_are_refused() -> None:
    foreign = QueueSpec("wide", partitions=3, partition_path="message.message_id", is_foreign=True)

    with pytest.raises(ConfigError, match="partitions need an exchange"):
        objects_of(Topology.of([foreign], []))


def test_somebody_else_s_queue_is_only_looked_for() -> None:
    objects = objects_of(Topology.of([QueueSpec("theirs", is_foreign=True)], []))

    assert (objects.queues, objects.foreign) == ((), ("theirs",))
    assert objects.exchanges == ()
