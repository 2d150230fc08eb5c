"""Messages that are stored by one statement, beside the same ones that are stored in the way of larger groups."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, select

from hub.clock import SystemClock
from hub.errors import StoreUnavailableError
from hub.inbox import accept, singles
from hub.inbox.received import Accepted, Received
from hub.inbox.rows import store_drafts
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.inbox.inboxes import CountingStore, Inbox, an_inbox, kinds, message
from tests.support.patience import until

KEYED = {"key": "anna", "n": 1}
HEADERS = {"x-shop": "ünder"}


async def singly(inbox: Inbox, messages: Sequence[Received]) -> list[Accepted]:
    return list(await asyncio.gather(*(inbox.acceptor.accept(one) for one in messages)))


@contextmanager
def statements_of(store: Store) -> Iterator[list[str]]:
    """What is written meanwhile, statement by statement."""
    statements: list[str] = []

    def hear(_conn: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    event.listen(store.writer.sync_engine, "before_cursor_execute", hear)
    try:
        yield statements
    finally:
        event.remove(store.writer.sync_engine, "before_cursor_execute", hear)


async def test_what_is_stored_is_the_same_whichever_way_it_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [
        message(KEYED, "m-1", headers=HEADERS),
        message({"n": 2}, "m-2", content_type="text/x"),
        message({"id": "b-1", "amount": 5}, source="bank", routing_key=""),
    ]
    async with an_inbox(store) as inbox:
        with statements_of(store) as statements:
            await singly(inbox, messages)
        if store.dialect == "postgresql":
            assert set(statements) == {singles._STORE._postgresql}
        monkeypatch.setattr(accept, "_are_singles", lambda _: False)
        for one in messages:
            one.message_id = one.message_id.replace("m-", "n-")
            one.body = one.body.replace(b"b-1", b"c-1")
        await singly(inbox, messages)

        events, deliveries = await inbox.rows(t.inbox), await inbox.rows(t.deliveries)
        totals = {(row.source, row.received) for row in await inbox.rows(t.received_totals)}
        identities = await inbox.rows(t.identities)

    assert len(events) == len(deliveries) == len(identities) == 6
    own = {"seq", "id", "dedupe_id", "message_id", "payload", "occurred_at", "received_at", "traceparent"}
    assert [shared(row, own) for row in events[:3]] == [shared(row, own) for row in events[3:]]
    own = {"id", "event_seq", "event_id", "lane", "chain"}
    assert [shared(row, own) for row in deliveries[:3]] == [shared(row, own) for row in deliveries[3:]]
    assert (deliveries[0].lane, deliveries[0].chain) == (deliveries[3].lane, deliveries[3].chain)
    assert [(row.id >> 16, row.event_id) for row in deliveries] == [(row.seq, row.id) for row in events]
    assert {row.event_id for row in identities} == {row.id for row in events}
    assert totals == {("shop", 4), ("bank", 2)}


def shared(row: Any, own: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row._asdict().items() if name not in own}


async def test_repeats_and_conflicts_among_them_are_told_and_counted_as_ever(store: Store) -> None:
    bank = [message({"id": "b-1", "amount": amount}, source="bank") for amount in (1, 1, 2)]
    async with an_inbox(store) as inbox:
        first = await singly(inbox, [message({"n": 1}, "m-1"), message({"n": 1}, "m-1"), *bank])
        again = await singly(inbox, [message({"n": 1}, "m-1"), message({"n": 9}, "m-9"), *bank])

        repeated = {row.event_id for row in await inbox.rows(t.duplicates)}
        totals = {row.source: row.received for row in await inbox.rows(t.received_totals)}
        stored = len(await inbox.rows(t.inbox)), len(await inbox.rows(t.duplicates)), len(await inbox.rows(t.conflicts))

    assert [one.kind for one in first] == ["event", "duplicate", "event", "duplicate", "conflict"]
    assert [one.kind for one in again] == ["duplicate", "event", "duplicate", "duplicate", "conflict"]
    assert first[1].event_id == first[0].event_id == again[0].event_id
    assert repeated == {first[0].event_id, first[2].event_id}
    assert stored == (3, 5, 2)
    assert totals == {"shop": 4, "bank": 6}


async def test_a_group_with_a_repeat_costs_one_statement_and_no_transaction_around_it(store: Store) -> None:
    if store.dialect != "postgresql":
        pytest.skip("SQLite has no way to the database and back")
    async with an_inbox(store) as inbox:
        await inbox.send({"n": 0}, "m-0")
        with statements_of(store) as statements:
            told = await singly(inbox, [message({"n": 1}, "m-1"), message({"n": 0}, "m-0")])

        assert [one.kind for one in told] == ["event", "duplicate"]
        assert len(statements) == 1
        # Whoever has the connection next has a transaction again.
        with pytest.raises(ZeroDivisionError):
            await store.write(_write_and_fail)
        assert len(await inbox.rows(t.routes)) == 1


async def test_a_group_is_told_once_the_next_one_is_on_its_way(store: Store) -> None:
    if store.dialect != "postgresql":
        pytest.skip("SQLite works where the answers are given")
    counting = CountingStore(store.writer, store.reader)
    async with an_inbox(counting) as inbox:
        await inbox.send({"n": 0}, "m-0")
        on_their_way: list[int] = []
        with statements_of(store) as statements:
            counting.gate = asyncio.Event()
            tell = partial(_note, on_their_way, statements)
            inbox.acceptor.accept_soon(message({"n": 1}, "m-1"), tell)
            await until(lambda: inbox.acceptor.waiting == 0, "the first group to be on its way")
            inbox.acceptor.accept_soon(message({"n": 2}, "m-2"), tell)
            await until(lambda: inbox.acceptor.waiting == 1, "the second to wait behind it")
            counting.gate.set()
            await until(lambda: len(on_their_way) == 2)

    assert on_their_way == [2, 2]


def _note(on_their_way: list[int], statements: list[str], _: object) -> None:
    on_their_way.append(len(statements))


async def _write_and_fail(conn: Any) -> None:
    await conn.execute(t.routes.insert(), [{"id": 99, "name": "not there"}])
    raise ZeroDivisionError


async def test_acceptors_that_take_the_same_messages_in_other_orders_store_each_once(store: Store) -> None:
    messages = [message({"n": number}, f"m-{number}") for number in range(60)]
    async with an_inbox(store) as one, an_inbox(store) as other, an_inbox(store) as third:
        chance = random.Random(7)
        told: list[Accepted] = []
        for _ in range(3):
            orders = [chance.sample(messages, len(messages)) for _ in range(3)]
            for answers in await asyncio.gather(
                *(singly(inbox, order) for inbox, order in zip((one, other, third), orders, strict=True))
            ):
                told += answers

        assert len(await one.rows(t.inbox)) == 60
        assert kinds(told) == {"event": 60, "duplicate": 480}
        totals = sum(row.received for row in await one.rows(t.received_totals))
    assert totals == 540


@pytest.mark.parametrize(
    ("field", "value"),
    [("traceparent", None), ("traceparent", "\ud800"), ("occurred_at", datetime(2026, 1, 1))],  # noqa: DTZ001
    ids=["by the database", "by its driver", "without a zone"],
)
async def test_one_that_is_refused_is_found_and_the_others_are_stored(store: Store, field: str, value: object) -> None:
    async with an_inbox(CountingStore(store.writer, store.reader)) as inbox:
        bad = message({"n": 1}, "m-1", content_type="x" * 150)
        good = [message({"n": number}, f"m-{number}") for number in (2, 3)]
        # By a mistake of ours.
        drafter = inbox.acceptor._drafter()
        original = drafter.draft

        def spoilt(received: Received) -> Any:
            draft = original(received)
            if received is bad:
                object.__setattr__(draft.event, field, value)
            return draft

        drafter.draft = spoilt  # type: ignore[method-assign]
        results = await asyncio.gather(
            *(inbox.acceptor.accept(one) for one in (good[0], bad, good[1])), return_exceptions=True
        )

        assert [isinstance(one, Accepted) for one in results] == [True, False, True]
        async with store.reading() as conn:
            stored = (await conn.execute(select(t.inbox.c.message_id))).scalars().all()
    assert sorted(stored) == ["m-2", "m-3"]


async def test_those_that_may_be_stored_are_not_stored_once_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    if store.dialect != "postgresql":
        pytest.skip("SQLite has no statement that commits by itself")
    stores = singles.store_singles

    async def stores_and_fails(*given: Any, **more: Any) -> Any:
        await stores(*given, **more)
        raise RuntimeError("what was answered cannot be read")

    async with an_inbox(store) as inbox:
        monkeypatch.setattr(accept, "store_singles", stores_and_fails)
        with pytest.raises(StoreUnavailableError):
            await inbox.send({"n": 1}, "m-1")
        monkeypatch.undo()
        again = await inbox.send({"n": 1}, "m-1")

        [stored], deliveries = await inbox.rows(t.inbox), await inbox.rows(t.deliveries)
        totals = [row.received for row in await inbox.rows(t.received_totals)]
    assert (again.kind, again.event_id) == ("duplicate", stored.id)
    assert (len(deliveries), sum(totals)) == (1, 2)


async def test_an_event_that_an_earlier_transaction_has_stored_is_not_written_again(store: Store) -> None:
    async with an_inbox(store) as inbox:
        drafter, route_ids = inbox.acceptor._drafter(), inbox.acceptor._route_ids()
        first, other = [drafter.draft(message({"n": number}, f"m-{number}")) for number in (1, 2)]

        async def write(*drafts: Any) -> list[Accepted]:
            answers = await store.write(
                lambda conn: store_drafts(conn, drafts, route_ids=route_ids, now=SystemClock().now())
            )
            return [accepted for accepted, _ in answers]

        told = [await write(first), await write(first), await write(first, other)]

        assert [[(one.kind, one.event_id) for one in answers] for answers in told] == [
            [("event", first.event.id)],
            [("duplicate", first.event.id)],
            [("duplicate", first.event.id), ("event", other.event.id)],
        ]
        assert len(await inbox.rows(t.inbox)) == len(await inbox.rows(t.deliveries)) == 2
        assert [row.received for row in await inbox.rows(t.received_totals)] == [2]
        assert await inbox.rows(t.duplicates) == []


def test_totals_are_taken_in_one_order_whatever_the_language_of_the_database() -> None:
    # ``rows.py`` takes them by code point: in another order two acceptors would wait for each other.
    assert 'GROUP BY source ORDER BY source COLLATE "C"' in singles._STORE._postgresql
