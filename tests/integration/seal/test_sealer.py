"""The sealer finds everything that is final, once, however late it comes and whoever else seals."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row, Table, delete, event, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UsageError
from hub.operate.replay import replay
from hub.seal import tables as s
from hub.seal.chain import LEASE_S
from hub.seal.finding import LATE_S
from hub.seal.members import members_of_block, sealed_between
from hub.seal.sealer import Sealer
from hub.seal.verifying import verify_seal
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.operate.desk import COPY, NOTE, Desk
from tests.integration.seal.till import seal_all, sealer_of, sell, till
from tests.support.clock import SettableClock


@pytest.fixture
async def desk(store: Store, clock: SettableClock) -> Desk:
    made = Desk(store, clock)
    await made.use(NOTE)
    return made


async def _sealed(store: Store) -> list[tuple[str, int, str]]:
    async with store.reading() as conn:
        last = await conn.scalar(select(func.max(s.blocks.c.number))) or 0
        found = [one for number in range(1, last + 1) for one in await members_of_block(conn, number)]
    return [(one.kind, one.id, one.key) for one in found]


async def test_what_is_not_final_is_sealed_once_it_is(desk: Desk) -> None:
    done, parked, unread = await desk.event(1), await desk.event(2), (await desk.accept(b"{"))[0].event_id
    await desk.put(done, "done")
    await desk.park(parked)
    sealer = await seal_all(desk.store, desk.clock)
    first = await _sealed(desk.store)

    await desk.put(parked, "done")
    await desk.put(unread, "discarded")
    await sealer.seal()
    second = await _sealed(desk.store)

    assert [kind for kind, _, _ in first] == ["delivery", "event", "event"]
    assert sorted(kind for kind, _, _ in second[3:]) == ["delivery", "delivery", "event"]
    assert len(set(second)) == len(second)
    assert await desk.rows(s.pending) == []
    assert (await verify_seal(desk.store)).holds


async def test_a_verdict_of_a_provider_is_sealed_while_its_delivery_goes_on(desk: Desk) -> None:
    await desk.park(await desk.event())
    [delivery] = await desk.rows(t.deliveries)
    call = {
        "delivery_id": delivery.id,
        "number": 1,
        "provider": "bank",
        "key": "k",
        "request_hash": bytes(16),
        "outcome": {"data": {}},
        "started_at": desk.clock.now(),
        "lookups": 0,
    }
    await desk.add(t.calls, call | {"step": "paid", "state": "settled"}, call | {"step": "open", "state": "pending"})
    sealer = sealer_of(desk.store, desk.clock)
    for _ in range(4):
        await sealer.seal()
    early = [name for name in await _sealed(desk.store) if name[0] == "call"]

    await desk.put(delivery.event_id, "done")
    for _ in range(3):
        await sealer.seal()

    assert early == [("call", delivery.id, "paid#1")]
    late = [name for name in await _sealed(desk.store) if name[0] == "call"]
    assert sorted(late) == [("call", delivery.id, "open#1"), ("call", delivery.id, "paid#1")]
    assert (await verify_seal(desk.store)).holds


async def test_two_sealers_never_seal_a_row_twice(store: Store) -> None:
    async with till(store) as parts:
        sealers = [sealer_of(store, parts.clock) for _ in range(3)]
        for round_ in range(4):
            await sell(parts, 5, first=5 * round_)
            for _ in range(3):
                await asyncio.gather(*(one.seal() for one in sealers))
    await seal_all(store, SettableClock())

    names = await _sealed(store)
    report = await verify_seal(store)

    assert len(names) == len(set(names))
    assert report.holds
    assert report.head_number == report.blocks


async def test_of_two_one_works_and_the_other_waits_for_the_end_of_its_lease(
    desk: Desk, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[str] = []
    first, second = sealer_of(desk.store, clock), sealer_of(desk.store, clock)
    for name, one in (("first", first), ("second", second)):

        async def sweep(name: str = name) -> bool:
            swept.append(name)
            return True

        monkeypatch.setattr(one, "sweep", sweep)

    async def both() -> list[str]:
        swept.clear()
        for one in (first, second):
            await one.turn()
        return list(swept)

    async def holder() -> object:
        return (await desk.rows(s.state))[0].holder

    # Also where there is nothing to seal, and however long there is not: the lease is renewed.
    assert await both() == ["first"]
    mine = await holder()
    for _ in range(4):
        clock.advance(LEASE_S * 0.6)
        assert await both() == ["first"]
    assert await holder() == mine
    await desk.put(await desk.event(), "done")
    assert await both() == ["first"]
    assert len(await _sealed(desk.store)) == 2

    # It has died. The other one takes over when the lease is over, and keeps it.
    clock.advance(LEASE_S * 0.9)
    await second.turn()
    assert await holder() == mine
    clock.advance(LEASE_S * 0.2)
    await desk.put(await desk.event(2), "done")
    swept.clear()
    await second.turn()
    assert (swept, len(await _sealed(desk.store))) == (["second"], 4)
    assert await both() == ["second"]
    # One that leaves in order is followed at once.
    await second.leave()
    assert await both() == ["first"]
    assert (await verify_seal(desk.store)).holds


async def test_a_lease_by_a_clock_that_ran_ahead_stops_nobody(desk: Desk, clock: SettableClock) -> None:
    ahead = SettableClock(clock.now() + timedelta(days=1))
    assert not await sealer_of(desk.store, ahead).seal()
    [ran_ahead] = await desk.rows(s.state)
    await desk.put(await desk.event(), "done")

    await sealer_of(desk.store, clock).seal()

    [found] = await desk.rows(s.state)
    assert len(await _sealed(desk.store)) == 2
    assert found.holder != ran_ahead.holder
    assert found.until <= clock.now() + timedelta(seconds=LEASE_S)
    assert (await verify_seal(desk.store)).holds


async def test_a_lease_of_its_own_by_a_clock_that_ran_ahead_is_taken_anew(desk: Desk, clock: SettableClock) -> None:
    sealer = sealer_of(desk.store, clock)
    begun_at = clock.now()
    clock.advance(timedelta(days=1).total_seconds())
    await sealer.seal()
    clock.set(begun_at)

    await sealer.seal()

    assert (await desk.rows(s.state))[0].until == begun_at + timedelta(seconds=LEASE_S)


async def test_rows_that_commit_late_are_found(store: Store, clock: SettableClock) -> None:
    async with till(store) as parts:
        await sell(parts, 6)
    sealer = await seal_all(store, clock)
    complete = len(await _sealed(store))

    # As if one transaction had drawn its numbers before the others and committed after them.
    async def tear_out(conn: AsyncConnection) -> None:
        for table in (s.blocks, s.members, s.cursors, s.state):
            await conn.execute(delete(table))

    await store.write(tear_out)
    events = [row.seq for row in (await _all(store, t.inbox))]
    kept = await _take_out(store, events[2])
    again = sealer_of(store, clock)
    while await again.seal():
        pass
    await _put_back(store, kept)
    for _ in range(3):
        await again.seal()
    while await again.sweep():
        pass
    for _ in range(3):
        await again.seal()

    assert len(await _sealed(store)) == complete
    assert len(set(await _sealed(store))) == complete
    report = await verify_seal(store)
    assert report.holds
    assert sum(report.unsealed.values()) == 0
    assert await sealer.seal() in (True, False)


async def test_a_replay_of_an_old_event_is_sealed_too(desk: Desk) -> None:
    event = await desk.event(type_="order.paid", amount=50)
    await desk.put(event, "done")
    sealer = await seal_all(desk.store, desk.clock)
    await desk.event(2)
    while await sealer.seal():
        pass
    await desk.use(NOTE, COPY)

    await replay(desk.store, desk.clock, [str(event)], desk.rules, apply=True, actor="ana")
    await desk.put(event, "done")
    await sealer.seal()

    of_event = {row.id for row in await desk.deliveries(event)}
    assert len(of_event) == 2
    assert of_event <= {number for kind, number, _ in await _sealed(desk.store) if kind == "delivery"}


async def test_the_head_must_be_a_hash(store: Store) -> None:
    with pytest.raises(UsageError, match="12 to 64 hex digits"):
        await verify_seal(store, head="block 7")


async def test_neighbours_are_found_together(store: Store, clock: SettableClock) -> None:
    async with till(store) as parts:
        await sell(parts, 5)
    await seal_all(store, clock)
    seqs = [row.seq for row in await _all(store, t.inbox)]

    async with store.reading() as conn:
        found = await sealed_between(conn, "event", seqs[1], seqs[3])

    assert sorted(number for number, _ in found) == seqs[1:4]


async def _all(store: Store, table: Table) -> list[Row[Any]]:
    async with store.reading() as conn:
        return list(await conn.execute(select(table)))


async def _take_out(store: Store, seq: int) -> dict[str, list[dict[str, object]]]:
    """An event with its deliveries, calls and messages, gone for a moment."""
    kept: dict[str, list[dict[str, object]]] = {}

    async def work(conn: AsyncConnection) -> None:
        ids = (await conn.scalars(select(t.deliveries.c.id).where(t.deliveries.c.event_seq == seq))).all()
        for table, where in (
            (t.calls, t.calls.c.delivery_id.in_(ids)),
            (t.outbox, t.outbox.c.delivery_id.in_(ids)),
            (t.deliveries, t.deliveries.c.id.in_(ids)),
            (t.inbox, t.inbox.c.seq == seq),
        ):
            kept[table.name] = [row._asdict() for row in await conn.execute(select(table).where(where))]
            await conn.execute(delete(table).where(where))

    await store.write(work)
    return kept


async def _put_back(store: Store, kept: dict[str, list[dict[str, object]]]) -> None:
    async def work(conn: AsyncConnection) -> None:
        for table in (t.inbox, t.deliveries, t.calls, t.outbox):
            if kept[table.name]:
                await conn.execute(insert(table), kept[table.name])

    await store.write(work)


async def test_where_nothing_happens_one_look_by_one_statement_is_enough(store: Store, clock: SettableClock) -> None:
    async with till(store) as parts:
        await sell(parts, 2)
        sealer = Sealer(store, clock, interval_s=1.0, lag_s=1.0)
        # Numbers that nobody has used are looked for, for a while.
        for wait_s in (*[1.0] * 5, LATE_S, *[1.0] * 4):
            await sealer.seal()
            clock.advance(wait_s)
        complete = len(await _sealed(store))
        asked: list[str] = []

        def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            asked.append(statement)

        engines = {id(one.sync_engine.pool): one.sync_engine for one in (store.reader, store.writer)}
        for engine in engines.values():
            event.listen(engine, "before_cursor_execute", note)
        looks = []
        for _ in range(10):
            await sealer.seal()
            clock.advance(1.0)
            looks.append(len([one for one in asked if one.startswith("SELECT")]))
            asked.clear()
        # The others are those that renew the lease.
        assert looks.count(1) >= 6, looks

        await sell(parts, 1, first=2)
        for _ in range(8):
            await sealer.seal()
            clock.advance(1.0)

    assert len(await _sealed(store)) > complete
    report = await verify_seal(store)
    assert report.holds
    assert sum(report.unsealed.values()) == 0
