"""A replay runs what never ran and what was parked, by the rules of today; what is done stays done."""

from __future__ import annotations

import asyncio

import pytest

from hub.errors import UsageError
from hub.operate.equation import check
from hub.operate.replay import Pair, replay
from hub.store import tables as t
from tests.integration.operate.desk import COPY, NOTE, Desk, states
from tests.integration.operate.test_parked import BROKEN

AUDIT = "  - { name: audit, match: 'order.#', handle: test.note }\n"


def told(pairs: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.route, pair.verdict) for pair in pairs]


async def test_a_replay_without_apply_only_tells(desk: Desk) -> None:
    event = await desk.event(type_="order.paid", amount=50)
    await desk.put(event, "done")
    await desk.use(NOTE, AUDIT)

    pairs = await replay(desk.store, desk.clock, [str(event)], desk.rules, apply=False)

    assert told(pairs) == [("note", "done before"), ("audit", "new"), ("copy", "no longer matched")]
    assert states(await desk.deliveries(event)) == ["done", "done"]
    assert await desk.rows(t.operations) == []


async def test_a_replay_makes_deliveries_only_for_pairs_that_never_ran(desk: Desk) -> None:
    event = await desk.event(type_="order.paid", amount=50)
    await desk.put(event, "done")
    await desk.use(NOTE, COPY, AUDIT)

    first = await replay(desk.store, desk.clock, [str(event)], desk.rules, apply=True, actor="ana")
    second = await replay(desk.store, desk.clock, [str(event)], desk.rules, apply=True, actor="ana")

    assert told(first) == [("note", "done before"), ("copy", "done before"), ("audit", "new")]
    assert told(second) == [("note", "done before"), ("copy", "done before"), ("audit", "under way")]
    assert states(await desk.deliveries(event)) == ["done", "done", "ready"]
    assert [row.action for row in await desk.rows(t.operations)] == ["event.replay"]
    assert (await check(desk.store)).violations == ()


async def test_a_replay_tries_parked_deliveries_again(desk: Desk) -> None:
    event = await desk.event()
    await desk.park(event)

    pairs = await replay(desk.store, desk.clock, [str(event)], desk.rules, apply=True, actor="ana")

    assert told(pairs) == [("note", "retried")]
    assert states(await desk.deliveries(event)) == ["retrying"]
    assert (await check(desk.store)).violations == ()


async def test_a_parked_delivery_of_a_route_that_is_gone_stays_parked(desk: Desk) -> None:
    event = await desk.event()
    await desk.park(event)
    await desk.use(AUDIT)

    pairs = await replay(desk.store, desk.clock, [str(event)], desk.rules, apply=True, actor="ana")

    assert told(pairs) == [("audit", "new"), ("note", "no longer matched")]
    assert states(await desk.deliveries(event)) == ["parked", "ready"]


async def test_a_renamed_route_is_not_run_again(desk: Desk) -> None:
    event = await desk.event()
    await desk.put(event, "done")
    await desk.use(NOTE.replace("name: note", "name: remember, was: [note]"))

    pairs = await replay(desk.store, desk.clock, [str(event)], desk.rules, apply=True, actor="ana")

    assert told(pairs) == [("remember", "done before")]


async def test_an_event_that_still_cannot_be_read_is_told_with_its_mistake(desk: Desk) -> None:
    [accepted] = await desk.accept(BROKEN)

    [pair] = await replay(desk.store, desk.clock, [str(accepted.event_id)], desk.rules, apply=True, actor="ana")

    assert (pair.verdict, pair.state) == ("unreadable", "parked")
    assert "line 1, column" in pair.detail
    assert await desk.rows(t.operations) == []


async def test_an_event_that_can_be_read_by_todays_rules_goes_on(desk: Desk) -> None:
    [accepted] = await desk.accept({"id": "order-1", "kind": "order.made", "key": "c", "amount": 5})
    assert accepted.kind == "unreadable"
    event = str(accepted.event_id)
    await desk.use(NOTE, sources={"type: data.type": "type: data.kind"})

    planned = await replay(desk.store, desk.clock, [event], desk.rules, apply=False)
    done = await replay(desk.store, desk.clock, [event], desk.rules, apply=True, actor="ana")

    assert told(planned) == told(done) == [("(unreadable)", "reread")]
    assert states(await desk.deliveries(accepted.event_id)) == ["done", "ready"]
    assert (await check(desk.store)).violations == ()


async def test_two_replays_at_once_make_one_delivery(desk: Desk) -> None:
    event = await desk.event()
    await desk.put(event, "done")
    await desk.use(NOTE, AUDIT)

    both = await asyncio.gather(
        *(replay(desk.store, desk.clock, [str(event)], desk.rules, apply=True, actor=name) for name in ("ana", "bo"))
    )

    assert sorted(pair.verdict for pairs in both for pair in pairs) == [
        "done before",
        "done before",
        "new",
        "under way",
    ]
    assert len(await desk.deliveries(event)) == 2


async def test_an_unknown_event_stops_a_replay_before_anything_is_done(desk: Desk) -> None:
    event = await desk.event()
    await desk.park(event)

    with pytest.raises(UsageError, match="there is no event ffffffff"):
        await replay(desk.store, desk.clock, [str(event), "ffffffff"], desk.rules, apply=True, actor="ana")
    with pytest.raises(UsageError, match="expected the name"):
        await replay(desk.store, desk.clock, [str(event)], desk.rules, apply=True)

    assert states(await desk.deliveries(event)) == ["parked"]
