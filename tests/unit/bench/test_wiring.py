"""The wiring of the hub under measurement is one that the hub reads as it is meant."""

from __future__ import annotations

from pathlib import Path

from benchmarks.growth import routing_us
from benchmarks.hubs import loaded_routing
from benchmarks.wiring import Names, routing_yaml


def test_a_hundred_routes_of_which_one_takes_the_load() -> None:
    loaded = loaded_routing(routing_yaml(Names()), Path("routing.yaml"))

    routes = loaded.config.routes
    assert len(routes) == 100
    assert [route.name for route in routes if "bench.deposit" in route.match] == ["credit"]
    assert not [route.name for route in routes if "#" in route.match]


def test_two_runs_share_no_name() -> None:
    one, other = Names(), Names()

    assert not {one.queue_in, one.queue_out, one.exchange_in} & {other.queue_in, other.queue_out, other.exchange_in}


def test_routing_costs_something() -> None:
    assert routing_us(9) > 0
