"""What routing.yaml asks the broker for."""

from __future__ import annotations

import pytest

from hub.errors import ConfigError
from hub.routing import load_text
from hub.transports import Binding, QueueSpec, topology_of

ROUTING = """
version: 1
sources:
  loyalty:
    queue: { name: hub.loyalty, exchange: loyalty.events, bind: ["member.#", "card.*"] }
    event: { type: routing_key }
  returns:
    queue: { name: shop.returns }
    event: { type: routing_key }
  old:
    queue: { name: old.system, ordered: false }
    event: { type: routing_key }
  wide:
    queue: { name: wide, exchange: wide.events, partitions: 8, by: header customer }
    event: { type: routing_key, key: headers.customer }
destinations:
  shop: { queue: shop }
  returns: { queue: shop.returns }
  bank: { exchange: bank.events, bind: { bank.all: "#", bank.paid: ["order.paid", "order.refunded"] } }
"""

topology = topology_of(load_text(ROUTING, environ={}).config)
queues = {queue.name: queue for queue in topology.queues}


def test_a_queue_destination_has_an_exchange_of_its_own() -> None:
    assert Binding("hub.shop", "shop", "#") in topology.bindings
    assert queues["shop"] == QueueSpec("shop")


def test_an_exchange_destination_binds_its_queues_by_their_patterns() -> None:
    of_bank = [binding for binding in topology.bindings if binding.exchange == "bank.events"]
    assert of_bank == [
        Binding("bank.events", "bank.all", "#"),
        Binding("bank.events", "bank.paid", "order.paid"),
        Binding("bank.events", "bank.paid", "order.refunded"),
    ]


def test_a_source_binds_its_queue_and_reads_it_alone() -> None:
    assert Binding("loyalty.events", "hub.loyalty", "member.#") in topology.bindings
    assert Binding("loyalty.events", "hub.loyalty", "card.*") in topology.bindings
    assert queues["hub.loyalty"] == QueueSpec("hub.loyalty", single_consumer=True)


def test_a_source_without_an_exchange_reads_a_queue_of_somebody_else() -> None:
    assert queues["old.system"] == QueueSpec("old.system", is_foreign=True)


def test_a_queue_that_the_hub_feeds_and_reads_is_its_own() -> None:
    assert queues["shop.returns"] == QueueSpec("shop.returns", single_consumer=True)


def test_a_partitioned_source_names_what_divides_it() -> None:
    assert queues["wide"] == QueueSpec("wide", partitions=8, partition_path="headers.customer")


def test_every_exchange_is_named_once_in_order() -> None:
    assert topology.exchanges == ("bank.events", "hub.shop", "hub.shop.returns", "loyalty.events", "wide.events")


def test_kinds_and_arguments_of_queues_are_passed_on_in_order() -> None:
    text = """
version: 1
sources:
  crm:
    queue: { name: crm, exchange: crm.events, type: classic, arguments: { x-max-length: 5, x-delivery-limit: null } }
    event: { type: routing_key }
destinations:
  log: { exchange: log.events, type: stream, bind: { log.all: "#" } }
"""
    crm, log = topology_of(load_text(text, environ={}).config).queues

    assert (crm.type, crm.arguments) == ("classic", (("x-delivery-limit", None), ("x-max-length", 5)))
    assert (log.type, log.arguments) == ("stream", ())


@pytest.mark.parametrize(
    ("queue", "problem"),
    [
        ("{ name: crm, exchange: e, type: stream }", "expected 'quorum' or 'classic', found 'stream'"),
        ("{ name: crm, arguments: { x-max-length: 5 } }", "arguments need an exchange"),
        ("{ name: crm, exchange: e, arguments: { durable: true } }", "durable"),
    ],
)
def test_what_a_source_s_queue_cannot_be_is_refused(queue: str, problem: str) -> None:
    text = f"version: 1\nsources:\n  crm:\n    queue: {queue}\n    event: {{ type: routing_key }}\n"

    with pytest.raises(ConfigError, match=problem):
        load_text(text, environ={})
