"""When two messages are one: identity is (source, dedupe id), for ever; what differs is kept for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from hub.store import tables as t
from hub.store.store import Store
from tests.integration.inbox.inboxes import Inbox, an_inbox, kinds, message


async def test_the_same_id_and_content_is_one_event_and_a_duplicate_row(store: Store) -> None:
    async with an_inbox(store) as inbox:
        first = await inbox.send({"amount": 5}, "m-1")
        again = await inbox.send({"amount": 5}, "m-1")

        assert (first.kind, again.kind) == ("event", "duplicate")
        assert again.event_id == first.event_id
        assert [row.event_id for row in await inbox.rows(t.duplicates)] == [first.event_id]
        assert len(await inbox.rows(t.inbox)) == len(await inbox.rows(t.deliveries)) == 1


async def test_the_same_id_with_other_content_is_a_conflict_kept_whole(store: Store) -> None:
    other = b'{"amount": 6, "note": "\xe2\x82\xac"}  '
    async with an_inbox(store) as inbox:
        first = await inbox.send({"amount": 5}, "m-1")
        second = await inbox.send(other, "m-1", headers={"x-try": "2"}, content_type="application/vnd.shop+json")

        assert (second.kind, second.event_id) == ("conflict", first.event_id)
        [conflict] = await inbox.rows(t.conflicts)
        assert (conflict.payload, conflict.headers, conflict.state) == (other, {"x-try": "2"}, "open")
        assert (conflict.content_type, conflict.event_id) == ("application/vnd.shop+json", first.event_id)
        assert len(await inbox.rows(t.deliveries)) == 1


@pytest.mark.parametrize(
    "again",
    [
        b'{"b": [1, {"y": null}], "a": 10}',
        b'{"a":1e1,"b":[1.0,{"y":null}]}',
        b'{ "a": 10.00, "b": [ 1, {"y" : null} ] }',
        b'{"a": 10, "\\u0062": [1, {"y": null}]}',
    ],
)
async def test_spelling_and_order_are_no_conflict(store: Store, again: bytes) -> None:
    async with an_inbox(store) as inbox:
        await inbox.send(b'{"a":10,"b":[1,{"y":null}]}', "m-1")

        assert (await inbox.send(again, "m-1")).kind == "duplicate"


@pytest.mark.parametrize(
    "again",
    [
        b'{"a":"10","b":[1,2]}',
        b'{"a":10,"b":[2,1]}',
        b'{"a":true,"b":[1,2]}',
        b'{"a":10,"b":[1,2],"c":null}',
        b'{"a":10.0000000000000000000000000000000001,"b":[1,2]}',
    ],
)
async def test_a_difference_of_value_is_a_conflict(store: Store, again: bytes) -> None:
    async with an_inbox(store) as inbox:
        await inbox.send(b'{"a":10,"b":[1,2]}', "m-1")

        assert (await inbox.send(again, "m-1")).kind == "conflict"


async def test_a_source_says_which_fields_make_two_messages_the_same(store: Store) -> None:
    async with an_inbox(store) as inbox:
        await inbox.send({"id": 7, "amount": 100, "try": 1}, source="bank")

        assert (await inbox.send({"id": 7, "amount": 100, "try": 2}, source="bank")).kind == "duplicate"
        assert (await inbox.send({"id": 7, "amount": 101, "try": 3}, source="bank")).kind == "conflict"


async def test_one_id_at_two_sources_is_two_events(store: Store) -> None:
    async with an_inbox(store) as inbox:
        answers = [await inbox.send({"id": "7", "amount": 1}, "7"), await inbox.send({"id": "7"}, "7", source="bank")]

        assert [answer.kind for answer in answers] == ["event", "event"]


async def test_messages_without_an_id_are_events_of_their_own(store: Store) -> None:
    async with an_inbox(store) as inbox:
        answers = [await inbox.send({"state": "deleted"}) for _ in range(3)]

        assert len({answer.event_id for answer in answers}) == 3
        assert await inbox.rows(t.identities) == []


async def test_repeats_within_one_group_are_one_event(store: Store) -> None:
    async with an_inbox(store) as inbox:
        together = [
            message({"n": 1}, "m-1"),
            message({"n": 2}, "m-2"),
            message({"n": 1}, "m-1"),
            message({"n": 9}, "m-2"),
        ]
        answers = await inbox.acceptor.accept_all(together)

        assert [answer.kind for answer in answers] == ["event", "event", "duplicate", "conflict"]
        assert [answer.event_id for answer in answers[2:]] == [answer.event_id for answer in answers[:2]]


async def test_many_deliveries_of_one_id_at_once_are_one_event(store: Store) -> None:
    async with an_inbox(store) as inbox:
        answers = await asyncio.gather(*(inbox.send({"n": 1}, "m-1") for _ in range(60)))

        assert kinds(answers) == {"event": 1, "duplicate": 59}
        await _exactly_one_event(inbox, answers[0].event_id, duplicates=59)


async def test_two_processes_that_accept_the_same_ids_at_once_make_one_event_of_each(database_url: str) -> None:
    first_store, second_store = Store.open(database_url), Store.open(database_url)
    ids = [f"m-{number}" for number in range(40)]
    try:
        async with an_inbox(first_store) as first, an_inbox(second_store) as second:
            # Opposite orders, and several groups at once: the claims must not meet crosswise.
            answers = await asyncio.gather(
                *(first.send({"id": one}, one) for one in ids),
                *(second.send({"id": one}, one) for one in reversed(ids)),
            )
            together = await asyncio.gather(
                first.acceptor.accept_all([message({"id": one}, one) for one in ids]),
                second.acceptor.accept_all([message({"id": one}, one) for one in reversed(ids)]),
            )

            assert kinds(answers) == {"event": 40, "duplicate": 40}
            assert kinds([*together[0], *together[1]]) == {"duplicate": 80}
            assert len(await first.rows(t.inbox)) == len(await first.rows(t.deliveries)) == 40
            assert sum(row.received for row in await first.rows(t.received_totals)) == 160
    finally:
        await first_store.close()
        await second_store.close()


async def test_what_cannot_be_read_is_stored_and_parked_with_its_place(store: Store) -> None:
    body = b'{"a": 1,\n "b": tru }'
    async with an_inbox(store) as inbox:
        answer = await inbox.send(body, "m-1")

        assert answer.kind == "unreadable"
        assert answer.problem.startswith("line 2, column 7")
        [event], [delivery] = await inbox.rows(t.inbox), await inbox.rows(t.deliveries)
        assert (event.payload, event.problem, event.matches) == (body, answer.problem, 0)
        assert (delivery.state, delivery.reason) == ("parked", answer.problem)


async def test_an_unreadable_webhook_that_is_repeated_is_stored_once_and_answered_alike(store: Store) -> None:
    async with an_inbox(store) as inbox:
        answers = [await inbox.send(b"\xff not json", source="bank") for _ in range(3)]

        assert [answer.kind for answer in answers] == ["unreadable"] * 3
        assert len({answer.event_id for answer in answers}) == 1
        assert (len(await inbox.rows(t.inbox)), len(await inbox.rows(t.duplicates))) == (1, 2)


async def test_an_unreadable_body_does_not_occupy_the_id_of_its_readable_repair(store: Store) -> None:
    async with an_inbox(store) as inbox:
        await inbox.send(b"{", "m-1")

        assert (await inbox.send({"n": 1}, "m-1")).kind == "event"


async def test_every_message_is_counted_once_whatever_became_of_it(store: Store) -> None:
    async with an_inbox(store) as inbox:
        for body, one in (({"n": 1}, "a"), ({"n": 1}, "a"), ({"n": 2}, "a"), ({"n": 1}, "b"), (b"{", "c")):
            await inbox.send(body, one)

        received = sum(row.received for row in await inbox.rows(t.received_totals))
        assert received == 5
        tables: Sequence[object] = (t.inbox, t.duplicates, t.conflicts)
        assert sum([len(await inbox.rows(table)) for table in tables]) == received


async def _exactly_one_event(inbox: Inbox, event_id: UUID, *, duplicates: int) -> None:
    assert [row.id for row in await inbox.rows(t.inbox)] == [event_id]
    assert [row.event_id for row in await inbox.rows(t.identities)] == [event_id]
    assert {row.event_id for row in await inbox.rows(t.duplicates)} == {event_id}
    assert len(await inbox.rows(t.duplicates)) == duplicates
