"""Rates, pauses and circuits of destinations: what stands still waits in order, and the others go on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hub.flow.pauses import Pause, lift_pauses, put_pause, read_pauses
from hub.routing import DestinationConfig
from tests.integration.deliver.test_untold_pauses import Outage
from tests.integration.outbox.bench import DRAIN_S, Bench, sent

SHOP_ONLY = "hub.shop"


def shop(**more: Any) -> DestinationConfig:
    return DestinationConfig.model_validate({"queue": "shop", **more})


async def test_a_rate_lets_so_many_go_and_keeps_their_order_while_others_go_on(bench: Bench) -> None:
    bench.destinations["shop"] = shop(rate={"per_second": 10, "burst": 3})
    ids = await bench.put("anna", "bert", "anna", "carl", "anna", "anna")
    others = await bench.put(*"abcdefgh", to="bank")
    relay = await bench.relay(batch_size=4)

    await relay.drain(DRAIN_S)
    assert _at_shop(bench) == ids[:3]
    assert {one.message_id for one in bench.broker.arrived} >= set(others)

    for gone in (4, 5):
        bench.clock.advance(0.1001)
        await relay.drain(DRAIN_S)
        assert _at_shop(bench) == ids[:gone]

    bench.clock.advance(60)
    await relay.drain(DRAIN_S)
    assert await bench.states() == sent([*ids, *others])


async def test_what_a_rate_allows_within_a_tenth_of_a_second_goes_together(bench: Bench) -> None:
    bench.destinations["shop"] = shop(rate={"per_second": 100, "burst": 40})
    ids = await bench.put(*(f"key-{n}" for n in range(60)))
    relay = await bench.relay()
    await relay.drain(DRAIN_S)
    assert len(_at_shop(bench)) == 40
    bench.broker.calls.clear()

    for _ in range(9):
        bench.clock.advance(0.01)
        # Whoever is told of another message looks, too.
        ids += await bench.put("late")
        await relay.drain(DRAIN_S)
    assert bench.broker.calls == []
    bench.clock.advance(0.0101)
    relay._signal.again(relay._throttle.due_lanes())
    assert await relay._step()

    assert [len(call) for call in bench.broker.calls] == [10]
    bench.clock.advance(60)
    await relay.drain(DRAIN_S)
    bench.clock.advance(60)
    await relay.drain(DRAIN_S)
    assert await bench.states() == sent(ids)


async def test_what_comes_for_a_destination_that_takes_nothing_now_is_looked_at_when_it_does(bench: Bench) -> None:
    bench.destinations["shop"] = shop(rate={"per_second": 1, "burst": 1})
    await bench.put("anna", "anna")
    relay = await bench.relay()
    await relay.drain(DRAIN_S)
    later = await bench.put("bert")
    lane = (await bench.row(later[0])).lane
    relay._throttle.due_lanes()

    # Closed: the row is not even read.
    relay._signal.add([lane])
    assert await relay._step() is False

    assert relay._throttle.wait_s <= 1
    bench.clock.advance(1.0001)
    assert lane in relay._throttle.due_lanes()


async def test_a_relay_shares_a_rate_with_the_other_workers(bench: Bench) -> None:
    bench.destinations["shop"] = shop(rate={"per_second": 10, "burst": 8})
    ids = await bench.put(*["anna"] * 9)
    relay = await bench.relay()
    relay._holding.workers = 4

    await relay.drain(DRAIN_S)
    bench.clock.advance(0.4001)
    await relay.drain(DRAIN_S)

    assert _at_shop(bench) == ids[:3], "a fourth of the burst, then a fourth of the rate"


async def test_a_destination_that_refuses_is_left_alone_until_one_message_has_tried_it(bench: Bench) -> None:
    bench.destinations["shop"] = shop(circuit={"failures": 3, "open": "20s"})
    ids = await bench.put(*(f"key-{n}" for n in range(12)))
    bench.broker.fate = lambda message: "nack" if message.exchange == SHOP_ONLY else "confirm"
    relay = await bench.relay(batch_size=4)

    await relay.drain(DRAIN_S)
    others = await bench.put("anna", to="bank")
    await relay.drain(DRAIN_S)
    refused = _published_to_shop(bench)
    assert refused == 4, "one round of refusals, the third of which is too much"
    assert bench.broker.ids() == others
    assert [one.cause for one in await _pauses(bench)] == ["circuit"]

    # Back-offs pass, the circuit is still open: nothing is tried, and what was due is looked at again later.
    bench.clock.advance(10)
    await relay.drain(DRAIN_S)
    assert _published_to_shop(bench) == refused

    bench.clock.advance(11)
    await relay.drain(DRAIN_S)
    assert _published_to_shop(bench) == refused + 1, "half open, one tries"

    bench.broker.fate = lambda _: "confirm"
    for _ in range(20):
        bench.clock.advance(30)
        await relay.drain(DRAIN_S)
    assert await bench.states() == sent([*ids, *others])
    assert await _pauses(bench) == []
    assert await bench.blocked() == []


async def test_a_destination_that_a_person_pauses_waits_also_where_it_was_backing_off(bench: Bench) -> None:
    bench.destinations["shop"] = shop(circuit=None)
    first = await bench.put("anna")
    bench.broker.fate = lambda _: "nack"
    relay = await bench.relay()
    await relay.drain(DRAIN_S)
    bench.broker.fate = lambda _: "confirm"

    await _pause(bench, "shop")
    later = await bench.put(*["anna", "bert"] * 100)
    others = await bench.put("anna", to="bank")
    for _ in range(3):
        bench.clock.advance(20)
        await relay.drain(DRAIN_S)
    assert bench.broker.ids() == others
    assert (await bench.row(first[0])).attempts == 1

    await bench.store.write(lambda conn: lift_pauses(conn, "destination", "shop"))
    await bench.settle(relay)

    assert bench.broker.ids("anna") == [*others, *first, *later[::2]]
    assert bench.broker.ids("bert") == later[1::2]


async def test_a_relay_tells_of_a_circuit_that_could_not_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay, outage = await bench.relay(), Outage(bench.store, monkeypatch)
    await bench.flow.open_circuit("destination", "shop", reason="refuses", for_s=60)
    assert await _pauses(bench) == []

    outage.is_over = True
    await relay.drain(DRAIN_S)

    assert [one.cause for one in await _pauses(bench)] == ["circuit"]


async def test_due_messages_and_new_ones_share_a_round(bench: Bench) -> None:
    bench.destinations["shop"] = shop(circuit=None)
    due = await bench.put(*(f"due-{n}" for n in range(40)))
    bench.broker.fate = lambda _: "nack"
    relay = await bench.relay()
    await relay.drain(DRAIN_S)
    new = await bench.put(*(f"new-{n}" for n in range(40)))
    bench.clock.advance(60)
    bench.broker.fate = lambda _: "confirm"
    relay = await bench.relay(batch_size=10)
    bench.broker.calls.clear()

    await relay.drain(DRAIN_S)

    assert sum(one.message_id in new for one in bench.broker.calls[0]) == 5, "half of the first round"
    assert await bench.states() == sent([*due, *new])


def _at_shop(bench: Bench) -> list[str]:
    return [one.message_id for one in bench.broker.arrived if one.exchange == SHOP_ONLY]


def _published_to_shop(bench: Bench) -> int:
    return sum(one.exchange == SHOP_ONLY for call in bench.broker.calls for one in call)


async def _pauses(bench: Bench) -> list[Pause]:
    async with bench.store.reading() as conn:
        return await read_pauses(conn)


async def _pause(bench: Bench, name: str) -> None:
    row = Pause(
        kind="destination",
        name=name,
        cause="person",
        paused_by="anna",
        reason="a drill",
        since=bench.clock.now() - timedelta(seconds=1),
        until=None,
    )
    await bench.store.write(lambda conn: put_pause(conn, row))
