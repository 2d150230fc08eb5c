"""Old events leave the tables, nothing of them is lost, and what is undone stays."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete

from hub.errors import UsageError
from hub.operate.archived import find_archived, list_archived
from hub.operate.event_details import payload_of, show_event
from hub.operate.events import EventFilter
from hub.operate.lookup import ArchivedError
from hub.operate.replay import replay
from hub.storage import Storage, StoragePlace
from hub.store import tables as t
from hub.store.tables_archive import archived_names
from tests.integration.operate.desk import Desk
from tests.integration.retention.archivist import Archivist, call_of, message_of, review_of

MANY = 7


async def test_an_archived_event_is_shown_as_it_was(archivist: Archivist, desk: Desk) -> None:
    event = await archivist.storied()
    others = [await archivist.finished(number, key=f"customer-{number}") for number in range(2, MANY)]
    unmatched = await desk.event(MANY, type_="odd.one")
    before, told = await show_event(desk.store, str(event), desk.sources), await archivist.check()
    archivist.grow_old()
    young = await archivist.finished(99)
    told_young = await archivist.check()

    report = await archivist.prune()

    assert (report.events, report.objects, dict(report.kept)) == (MANY, 1, {})
    assert len(archivist.objects()) == 1
    assert await archivist.rows() == {"inbox": 1, "deliveries": 1}
    assert sorted(await archivist.archived()) == sorted([event, *others, unmatched])
    assert await archivist.shown(event) == before
    assert (await archivist.shown(unmatched)).state == "unmatched"
    assert await archivist.archive.payload(event) != await archivist.archive.payload(event, corrected=True) == b"{\x00}"
    assert (await archivist.rows())["inbox"] == 1, "looking leaves nothing behind"
    with pytest.raises(ArchivedError, match=f"event {event} is in the archive"):
        await payload_of(desk.store, str(event)[:20])
    with pytest.raises(ArchivedError):
        await replay(desk.store, desk.clock, [str(event)], desk.rules, apply=True, actor="ann")
    with pytest.raises(UsageError, match="not in the archive"):
        await archivist.archive.load(young)
    now = await archivist.check()
    assert told.holds, told.violations
    assert (now.violations, now.states) == ((), told_young.states)
    [shop] = now.sources
    assert (shop.received, shop.duplicates, shop.conflicts) == (told.received + 1, 2, 1)
    assert (shop.events, shop.archived) == (MANY + 1, MANY)
    assert (await archivist.prune()).events == 0
    assert (await archivist.archive.verify()).faults == ()


async def found_as(archivist: Archivist, **asked: Any) -> list[UUID]:
    hits = await list_archived(archivist.desk.store, EventFilter(**asked), archivist.desk.sources)
    assert all(one.state == "archived" for one in hits)
    return [one.id for one in hits]


async def test_an_archived_event_is_found_by_what_somebody_has_in_hand(archivist: Archivist, desk: Desk) -> None:
    event, other = await archivist.storied(), await archivist.finished(2, key="customer-2")
    accepted = (await desk.rows(t.inbox))[0]
    assert await found_as(archivist, key="customer-1") == [], "it is in the tables"
    archivist.grow_old()
    await archivist.prune()
    await desk.accept({"id": "order-1", "type": "order.paid", "key": "customer-1", "amount": 50, "phone": "09"})
    archivist.grow_old()
    await archivist.prune()

    for asked in (
        {"event_id": str(event)},
        {"event_id": str(event)[:30]},
        {"key": "customer-1"},
        {"tag": "ORD1"},
        {"tag": "order_code=ORD1"},
        {"dedupe_id": "order-1"},
        {"dedupe_id": "order-1", "source": "shop"},
        {"key": "customer-1", "tag": "ORD1", "dedupe_id": "order-1"},
    ):
        assert await found_as(archivist, **asked) == [event], asked
    for nothing in (
        {},
        {"key": "customer-1", "tag": "ORD2"},
        {"key": "ORD1"},
        {"tag": "other=ORD1"},
        {"dedupe_id": "order-1", "source": "another"},
        # What the archive does not know by itself.
        {"key": "customer-1", "source": "shop"},
        {"key": "customer-1", "type": "order.paid"},
        {"key": "customer-1", "state": "applied"},
        {"key": "half \ud800"},
    ):
        assert await found_as(archivist, **nothing) == [], nothing
    for text in (str(event), "customer-1", "ORD1", "order_code=ORD1", " order-1 "):
        [hit] = await find_archived(desk.store, text, desk.sources)
        assert (hit.id, hit.seq) == (event, accepted.seq)
        assert abs(hit.received_at - accepted.received_at) < timedelta(seconds=1)
    assert [one.id for one in await find_archived(desk.store, str(other), ())] == [other]
    assert await find_archived(desk.store, "", desk.sources) == []


async def test_events_archived_before_names_were_kept_are_found_once_the_archive_is_indexed(
    archivist: Archivist, desk: Desk
) -> None:
    event = await archivist.storied()
    archivist.grow_old()
    await archivist.prune()
    names = await desk.rows(archived_names)
    await desk.store.write(lambda conn: conn.execute(delete(archived_names)))
    assert await found_as(archivist, tag="ORD1") == []

    assert [await archivist.archive.index() for _ in range(2)] == [len(names), 0]

    assert await found_as(archivist, tag="ORD1") == [event]
    assert await desk.rows(archived_names) == names
    assert all(b"ORD1" not in row.name_hash for row in names)


UNDONE = ("ready", "waiting", "calling", "retrying", "deferred", "parked")


async def make_undone(archivist: Archivist, number: int, why: str) -> UUID:
    """An event that is finished but for one thing."""
    desk, now = archivist.desk, archivist.desk.clock.now()
    event = await desk.event(number, key=f"customer-{number}")
    state = why if why in UNDONE else "refused" if why == "refused call" else "done"
    await desk.put(event, state, next_at=now if why == "deferred" else None)
    [delivery] = [row.id for row in await desk.deliveries(event)]
    match why:
        case "call" | "refused call" | "done":
            # Where its delivery is done, the handler knew that it is unknown, and arranged what follows.
            await desk.add(t.calls, call_of(delivery, now, "started" if why == "call" else "unknown"))
        case "unsent" | "unrouted":
            state = {"unsent": "ready", "unrouted": "parked"}[why]
            await desk.add(t.outbox, message_of(delivery, event, now, number=number, state=state))
        case "review":
            await desk.add(t.reviews, review_of(delivery, event, now, state="open"))
        case "conflict":
            await desk.accept({"id": f"order-{number}", "type": "order.made", "key": "x", "amount": 6})
        case "barrier":
            await desk.add(t.barriers, {"chain": 5, "delivery_id": delivery})
        case "followed":
            middle, last = [await desk.event(10_000 * step + number, key=f"f{step}{number}") for step in (1, 2)]
            await desk.put(middle, "done")
            await desk.change(t.inbox, t.inbox.c.id == middle, cause=event)
            await desk.change(t.inbox, t.inbox.c.id == last, cause=middle)
            await desk.park(last)
    return event


REASON_OF = {
    **dict.fromkeys(UNDONE, "open"),
    "unsent": "unsent",
    "unrouted": "unsent",
    "call": "call",
    "refused call": "call",
    "review": "review",
    "conflict": "conflict",
    "barrier": "barrier",
    "followed": "followed",
}


async def test_what_is_undone_stays_whatever_its_age(archivist: Archivist, desk: Desk) -> None:
    """Every way to be undone, among finished events, in an order by chance."""
    kinds = [*REASON_OF, *["done"] * len(REASON_OF)]
    random.Random(8).shuffle(kinds)
    made = {await make_undone(archivist, number, why): why for number, why in enumerate(kinds, 1)}
    archivist.grow_old()

    report = await archivist.prune()

    gone = set(await archivist.archived())
    assert {made[event] for event in gone if event in made} == {"done"}
    assert len(gone) == report.events == len(REASON_OF)
    # What stands between an event and what is open behind it stays too.
    expected = {"open": len(UNDONE) + 1, "unsent": 2, "call": 2, "followed": 2} | dict.fromkeys(
        ("review", "conflict", "barrier"), 1
    )
    assert dict(report.kept) == expected


async def test_an_event_stays_as_long_after_its_last_word_as_after_its_first(archivist: Archivist, desk: Desk) -> None:
    late = await desk.event(1)
    told = await archivist.finished(2)
    archivist.grow_old()
    await desk.put(late, "done")
    await desk.accept({"id": "order-2", "type": "order.made", "key": "customer-1", "amount": 5})

    report = await archivist.prune()

    assert (report.events, dict(report.kept)) == (0, {"recent": 2})
    archivist.grow_old()
    assert (await archivist.prune()).events == 2
    assert set(await archivist.archived()) == {late, told}


async def test_an_event_that_changes_meanwhile_stays_until_the_next_run(archivist: Archivist, desk: Desk) -> None:
    changed, other = await archivist.finished(1), await archivist.finished(2)
    archivist.grow_old()

    class Busy(Storage):
        async def put(self, name: str, content: bytes) -> None:
            await super().put(name, content)
            await desk.add(t.tags, {"name": "late", "value": "one", "event_id": changed})

    report = await archivist.prune(Busy(StoragePlace(place=str(archivist.folder))))

    assert (report.events, report.changed) == (1, 1)
    assert await archivist.archived() == [other]
    assert (await archivist.prune()).events == 1
    assert (await archivist.shown(changed)).tags == (("late", "one"),)


async def test_repeats_of_an_archived_event_are_counted_kept_and_archived_after_it(
    archivist: Archivist, desk: Desk
) -> None:
    event = await archivist.finished(1)
    archivist.grow_old()
    await archivist.prune()
    body = {"id": "order-1", "type": "order.made", "key": "customer-1", "amount": 5}

    [again, other] = await desk.accept(body, {**body, "amount": 6})

    assert (again.kind, other.kind, again.event_id) == ("duplicate", "conflict", event)
    assert (await archivist.check()).violations == ()
    archivist.grow_old()
    assert (await archivist.prune()).late == 1, "the conflict is open"
    await desk.change(t.conflicts, state="resolved")
    assert (await archivist.prune()).late == 1
    assert await archivist.rows() == {}
    shown = await archivist.shown(event)
    assert (len(shown.duplicates), len(shown.conflicts)) == (1, 1)
    [shop] = (await archivist.check()).sources
    assert (shop.received, shop.duplicates, shop.conflicts, shop.events) == (3, 1, 1, 1)
    assert (await archivist.check()).violations == ()


async def test_two_that_prune_at_once_take_each_event_once(archivist: Archivist, desk: Desk) -> None:
    events = [await archivist.finished(number) for number in range(1, 9)]
    archivist.grow_old()

    reports = await asyncio.gather(archivist.prune(), archivist.prune())

    assert sum(one.events for one in reports) == len(events)
    assert sorted(await archivist.archived()) == sorted(events)
    assert (await archivist.check()).violations == ()
