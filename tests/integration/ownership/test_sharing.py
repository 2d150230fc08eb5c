"""Lanes are shared out fairly as workers come and go, and nobody works on a lane that is another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from hub.event import LANES
from hub.ownership.holding import DELIVER, KINDS, RELAY, Kind
from hub.ownership.member import Member
from hub.store import tables as t
from hub.store.store import FencedError, Store
from tests.conftest import CONNECTIONS
from tests.support.clock import SettableClock
from tests.support.owning import expire_leases, joined
from tests.support.patience import STILL_S_MAX

ALL = frozenset(range(LANES))
LOOKS_MAX = 12


async def settle(members: Sequence[Member]) -> None:
    """Let each look in turn until nothing changes any more."""
    for _ in range(LOOKS_MAX):
        before = [set(one.holdings[kind].lanes) for one in members for kind in one.holdings]
        for member in members:
            await member.look()
        if before == [set(one.holdings[kind].lanes) for one in members for kind in one.holdings]:
            return
    raise AssertionError("the lanes go round and round")


def shares(members: Sequence[Member], kind: Kind = DELIVER) -> list[int]:
    """How many lanes each has; fails when a lane has two owners, or none."""
    held = [one.holdings[kind].lanes for one in members if kind in one.holdings]
    assert sorted(lane for lanes in held for lane in lanes) == sorted(ALL)
    return [len(lanes) for lanes in held]


async def test_each_newcomer_gets_its_part_and_each_leaver_leaves_it(store: Store, clock: SettableClock) -> None:
    members = [await joined(store, clock)]
    assert shares(members) == [256]

    for expected in ([128, 128], [86, 86, 84], [64] * 4, [52, 52, 52, 50, 50]):
        members.append(await joined(store, clock))
        await settle(members)
        assert sorted(shares(members, DELIVER), reverse=True)[0] == expected[0]
        assert sorted(shares(members, RELAY), reverse=True)[0] == expected[0]

    while len(members) > 1:
        await members.pop(0).leave()
        await settle(members)
        assert max(shares(members)) == -(-LANES // len(members))


async def test_nothing_moves_without_need(store: Store, clock: SettableClock) -> None:
    members = [await joined(store, clock) for _ in range(3)]
    await settle(members)
    before = [one.holdings[DELIVER].lanes for one in members]

    for _ in range(3):
        for member in members:
            await member.look()

    assert [one.holdings[DELIVER].lanes for one in members] == before


async def test_delivering_and_relaying_are_owned_apart(store: Store, clock: SettableClock) -> None:
    delivers = [await joined(store, clock, [DELIVER]) for _ in range(2)]
    relays = await joined(store, clock, [RELAY])
    both = await joined(store, clock, KINDS)
    members = [*delivers, relays, both]
    await settle(members)

    assert sorted(shares(members, DELIVER)) == [84, 86, 86]
    assert shares(members, RELAY) == [128, 128]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_workers_that_start_at_once_never_share_a_lane(database_url: str, clock: SettableClock) -> None:
    stores = [Store.open(database_url, pool_size=4) for _ in range(4)]
    try:
        members = await asyncio.gather(*(joined(store, clock) for store in stores))
        for _ in range(LOOKS_MAX):
            await asyncio.gather(*(one.look() for one in members))
            held = [one.holdings[DELIVER].owned for one in members]
            assert sum(map(len, held)) == len(frozenset().union(*held))

        assert shares(members) == [64] * 4
    finally:
        for store in stores:
            await store.close()


async def test_the_living_share_what_a_dead_one_had_and_are_careful_with_it_alone(
    store: Store, clock: SettableClock
) -> None:
    members = [await joined(store, clock) for _ in range(3)]
    await settle(members)
    dead = members.pop(0)
    await expire_leases(store, dead)

    await settle(members)

    assert shares(members) == [128, 128]
    with pytest.raises(FencedError):
        await dead.renew()


class Busy:
    """A loop that has something in hand in some lanes."""

    def __init__(self, *lanes: int) -> None:
        self.lanes = frozenset(lanes)

    async def let_go(self, lanes: frozenset[int]) -> frozenset[int]:
        return lanes - self.lanes


async def test_a_lane_with_something_in_hand_is_handed_over_later(store: Store, clock: SettableClock) -> None:
    first = await joined(store, clock)
    holding = first.holdings[DELIVER]
    holding.hands = busy = Busy(*range(5))
    second = await joined(store, clock)
    await settle([first, second])

    # Nothing new is begun in them, but they are nobody else's yet.
    assert holding.leaving == frozenset(range(5))
    assert len(holding.lanes) == 128
    assert len(second.holdings[DELIVER].lanes) == 123

    busy.lanes = frozenset()
    await settle([first, second])
    assert shares([first, second]) == [128, 128]


async def test_lanes_that_were_to_leave_stay_when_the_newcomer_goes_again(store: Store, clock: SettableClock) -> None:
    named: list[int] = []
    first = Member(store, clock, [DELIVER], on_gain=lambda _, lanes: named.extend(lanes))
    await first.join()
    await first.look()
    first.holdings[DELIVER].hands = Busy(*ALL)
    second = await joined(store, clock, [DELIVER])
    await first.look()
    assert len(first.holdings[DELIVER].leaving) == 128
    named.clear()

    await second.leave()
    await first.look()

    assert first.holdings[DELIVER].lanes == ALL
    # They are looked at again: what was said of them meanwhile was not heard.
    assert len(named) == 128


async def test_a_hand_over_whose_commit_was_not_heard_of_leaves_no_lane_idle(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways: it happened although an error was seen, or it did not."""
    write = store.write
    for happened in (True, False):
        first = await joined(store, clock, [DELIVER])
        second = await joined(store, clock, [DELIVER])

        async def unheard(work: Any, *, fence: Any = None, happened: bool = happened) -> None:
            if happened:
                await write(work, fence=fence)
            raise ConnectionResetError

        with monkeypatch.context() as patched:
            patched.setattr(store, "write", unheard)
            with pytest.raises(ConnectionResetError):
                await first.look()
        await settle([first, second])

        assert shares([first, second]) == [128, 128]
        await first.leave()
        await second.leave()


async def test_a_join_whose_commit_was_not_heard_of_can_be_repeated(store: Store, clock: SettableClock) -> None:
    member = Member(store, clock)

    await member.join()
    await member.join()
    await member.look()

    assert shares([member]) == [256]
    async with store.reading() as conn:
        assert len((await conn.execute(select(t.workers))).all()) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_worker_whose_handlers_have_every_connection_in_hand_keeps_its_lease(
    store: Store, clock: SettableClock
) -> None:
    member = await joined(store, clock)
    in_hand = [await store.writer.connect() for _ in range(CONNECTIONS)]
    try:
        async with asyncio.timeout(STILL_S_MAX):
            await member.renew()
    finally:
        for connection in in_hand:
            await connection.close()


async def test_each_worker_has_a_place_of_its_own_among_the_living(store: Store, clock: SettableClock) -> None:
    members = [await joined(store, clock) for _ in range(3)]
    await settle(members)

    assert sorted(one.holdings[DELIVER].slot for one in members) == [0, 1, 2]


async def test_a_worker_that_never_came_to_look_leaves_nothing_behind(store: Store, clock: SettableClock) -> None:
    member = Member(store, clock)
    await member.join()

    await member.leave()

    async with store.reading() as conn:
        assert [row.state for row in await conn.execute(select(t.workers))] == ["stopped"]
