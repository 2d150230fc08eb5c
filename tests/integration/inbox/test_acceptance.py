"""Accepting: nothing that was answered is lost, one commit serves many, and a bad message hurts only itself."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from hub.errors import StoreUnavailableError, UsageError
from hub.event import Event
from hub.inbox import accept
from hub.inbox.accept import DRAFTS_AT_ONCE
from hub.inbox.received import Accepted, OverloadedError
from hub.recent import Recent
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.inbox.inboxes import CountingStore, an_inbox, message
from tests.support.patience import STILL_S_MAX, until


@pytest.fixture
async def counting(store: Store) -> CountingStore:
    """The database behind a store that counts commits; closed with ``store``, whose connections it uses."""
    return CountingStore(store.writer, store.reader)


async def test_events_are_numbered_in_the_order_in_which_they_came(store: Store) -> None:
    async with an_inbox(store) as inbox:
        await asyncio.gather(*(inbox.send({"n": number}, f"m-{number}") for number in range(300)))

        rows = await inbox.rows(t.inbox)
        assert [row.message_id for row in rows] == [f"m-{number}" for number in range(300)]


async def test_what_arrives_during_a_commit_shares_the_next_one(counting: CountingStore) -> None:
    async with an_inbox(counting) as inbox:
        before = counting.commits
        await asyncio.gather(*(inbox.send({"n": number}) for number in range(400)))

        assert counting.commits - before <= 3
        assert len(await inbox.rows(t.inbox)) == 400


async def test_messages_that_came_together_are_stored_in_one_commit_even_across_a_full_group(
    counting: CountingStore,
) -> None:
    async with an_inbox(counting) as inbox:
        counting.gate = asyncio.Event()
        first = asyncio.create_task(inbox.send({"n": 0}))
        await asyncio.sleep(0.01)
        single = [asyncio.create_task(inbox.send({"n": number})) for number in range(498)]
        together = asyncio.create_task(inbox.acceptor.accept_all([message({"n": number}) for number in range(5)]))
        await asyncio.sleep(0.01)

        # The group in front of the five is stored, the one that holds them is refused: all five are, or none.
        counting.failures = [None, None, StoreUnavailableError("gone")]
        counting.gate.set()
        with pytest.raises(StoreUnavailableError):
            await together
        await asyncio.gather(first, *single)
        assert len(await inbox.rows(t.inbox)) == 499


async def test_nothing_is_answered_before_the_commit(counting: CountingStore) -> None:
    async with an_inbox(counting) as inbox:
        counting.gate = asyncio.Event()
        answer = asyncio.create_task(inbox.send({"n": 1}))
        await asyncio.sleep(0.05)

        assert not answer.done()
        counting.gate.set()
        assert (await answer).kind == "event"


async def test_whoever_has_no_task_is_told_after_the_commit_too(counting: CountingStore) -> None:
    async with an_inbox(counting) as inbox:
        told: list[Accepted | Exception] = []
        counting.gate = asyncio.Event()
        inbox.acceptor.accept_soon(message({"n": 1}, "m-1"), told.append)
        inbox.acceptor.accept_soon(message({"n": 1}, "m-1"), told.append)
        await asyncio.sleep(0.05)

        assert told == []
        counting.gate.set()
        await until(lambda: len(told) == 2)
        assert [one.kind for one in told if isinstance(one, Accepted)] == ["event", "duplicate"]


async def test_one_that_cannot_be_told_does_not_keep_the_answer_from_its_neighbours(counting: CountingStore) -> None:
    async with an_inbox(counting) as inbox:
        told: list[Accepted | Exception] = []
        inbox.acceptor.accept_soon(message({"n": 1}), lambda _: 1 / 0)  # type: ignore[arg-type]
        inbox.acceptor.accept_soon(message({"n": 2}), told.append)

        await until(lambda: len(told) == 1)
        assert (await inbox.send({"n": 3})).kind == "event"


async def test_who_waits_for_too_long_is_told_so_once_and_is_stored_all_the_same(
    counting: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "ACCEPT_S_MAX", 0.1)
    monkeypatch.setattr(accept, "LOOK_S", 0.02)
    async with an_inbox(counting) as inbox:
        told: list[Accepted | Exception] = []
        counting.gate = asyncio.Event()
        # One is in the group under way, the other two wait for the next.
        first = asyncio.create_task(inbox.send({"n": 1}, "m-1"))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(inbox.send({"n": 2}, "m-2"))
        inbox.acceptor.accept_soon(message({"n": 3}, "m-3"), told.append)

        for task in (first, second):
            with pytest.raises(StoreUnavailableError):
                await task
        await until(lambda: len(told) == 1)
        monkeypatch.setattr(accept, "ACCEPT_S_MAX", STILL_S_MAX)
        counting.gate.set()

        assert (await inbox.send({"n": 3}, "m-3")).kind == "duplicate"
        assert [type(one) for one in told] == [StoreUnavailableError]
        assert sorted(row.message_id for row in await inbox.rows(t.inbox)) == ["m-1", "m-2", "m-3"]


async def test_a_sender_that_goes_away_leaves_its_message_stored_once_or_not_at_all(counting: CountingStore) -> None:
    async with an_inbox(counting) as inbox:
        counting.gate = asyncio.Event()
        sender = asyncio.create_task(inbox.send({"n": 1}, "m-1"))
        neighbour = asyncio.create_task(inbox.send({"n": 2}, "m-2"))
        await asyncio.sleep(0.01)
        sender.cancel()
        counting.gate.set()
        await neighbour

        assert (await inbox.send({"n": 1}, "m-1")).kind in ("duplicate", "event")
        assert sorted(row.message_id for row in await inbox.rows(t.inbox)) == ["m-1", "m-2"]


async def test_too_many_waiting_messages_are_turned_away_and_the_rest_is_stored(counting: CountingStore) -> None:
    async with an_inbox(counting, queue_max=10) as inbox:
        counting.gate = asyncio.Event()
        first = asyncio.create_task(inbox.send({"n": 0}))
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(inbox.send({"n": number})) for number in range(10)]
        await asyncio.sleep(0)

        with pytest.raises(OverloadedError) as refused:
            await inbox.send({"n": 99})
        assert refused.value.delay_s is not None
        counting.gate.set()
        await asyncio.gather(first, *waiting)
        assert len(await inbox.rows(t.inbox)) == 11
        assert (await inbox.send({"n": 100})).kind == "event"


async def test_events_are_in_memory_before_their_commit_and_gone_again_where_it_fails(counting: CountingStore) -> None:
    recent: Recent[Event] = Recent()
    async with an_inbox(counting, recent=recent) as inbox:
        # Without an id of its own: a message that has one is committed by the statement that stores it.
        at_commit: list[int] = []

        def look() -> None:
            at_commit.append(len(recent))
            if len(at_commit) == 1:
                raise StoreUnavailableError("gone just before the commit")

        counting.before_commit = look
        with pytest.raises(StoreUnavailableError):
            await inbox.send({"n": 1})
        left_over = len(recent)
        await inbox.send({"n": 2})

        [row] = await inbox.rows(t.inbox)
        found = recent.take(row.seq)
        assert (at_commit, left_over) == ([1, 1], 0)
        assert found is not None
        assert (found.id, found.data) == (row.id, {"n": 2})


async def test_many_messages_that_are_still_being_read_when_the_inbox_ends_are_refused_at_once(
    counting: CountingStore,
) -> None:
    async with an_inbox(counting) as inbox:
        many = 5 * DRAFTS_AT_ONCE
        batch = asyncio.create_task(inbox.acceptor.accept_all([message({"n": n}) for n in range(many)]))
        await asyncio.sleep(0)
        waiting_meanwhile = inbox.acceptor.waiting
        inbox.acceptor.stop()
        inbox.loop.cancel()

        with pytest.raises(StoreUnavailableError):
            await batch
    assert (waiting_meanwhile, inbox.acceptor.waiting) == (many, 0)


async def test_when_the_database_is_away_the_whole_group_is_refused_and_the_next_one_works(
    counting: CountingStore,
) -> None:
    async with an_inbox(counting) as inbox:
        counting.gate = asyncio.Event()
        counting.failures = [StoreUnavailableError("the disk is full")]
        group = [asyncio.create_task(inbox.send({"n": number}, f"m-{number}")) for number in range(5)]
        await asyncio.sleep(0.01)
        counting.gate.set()

        answers = await asyncio.gather(*group, return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
        assert await inbox.rows(t.inbox) == []
        assert [(await inbox.send({"n": n}, f"m-{n}")).kind for n in range(5)] == ["event"] * 5


async def test_what_could_not_be_stored_leaves_no_identity_behind(store: Store) -> None:
    async with an_inbox(store) as inbox:
        async with store.writer.begin() as conn:
            await conn.execute(text("ALTER TABLE inbox RENAME TO inbox_away"))
        with pytest.raises(StoreUnavailableError):
            await inbox.send({"n": 1}, "m-1")
        async with store.writer.begin() as conn:
            await conn.execute(text("ALTER TABLE inbox_away RENAME TO inbox"))

        assert (await inbox.send({"n": 1}, "m-1")).kind == "event"


@pytest.mark.parametrize(
    "poison",
    [
        {"content_type": "text/" + "x" * 500},
        {"headers": {"x-name": "half a pair \udc80"}},
        {"headers": {"x-name": "nul \x00"}},
        {"routing_key": "order.\x00placed"},
        {"message_id": "m\x00"},
        {"message_id": "m\udc80"},
        {"body": b'{"key": "a\\u0000b"}'},
        {"traceparent": "00-" + "a" * 200},
    ],
    ids=lambda poison: next(iter(poison)),
)
async def test_a_message_that_the_database_would_refuse_does_not_take_its_neighbours_with_it(
    counting: CountingStore, poison: dict[str, object]
) -> None:
    async with an_inbox(counting) as inbox:
        counting.gate = asyncio.Event()
        bad = {"body": b"{}", **poison}
        sends = [
            inbox.send({"n": 1}, "m-1"),
            inbox.send(**bad),  # type: ignore[arg-type]
            inbox.send({"n": 2}, "m-2"),
        ]
        tasks = [asyncio.create_task(send) for send in sends]
        await asyncio.sleep(0.01)
        counting.gate.set()

        first, poisoned, second = await asyncio.gather(*tasks, return_exceptions=True)
        assert not isinstance(first, BaseException), first
        assert not isinstance(second, BaseException), second
        # The poisoned one is stored too, or refused alone: it must not claim to be stored when it is not.
        stored = {row.id for row in await inbox.rows(t.inbox)}
        assert {first.event_id, second.event_id} <= stored
        assert isinstance(poisoned, StoreUnavailableError) or getattr(poisoned, "event_id", None) in stored


async def test_when_the_database_goes_while_parts_of_a_group_are_tried_the_rest_is_refused_at_once(
    counting: CountingStore,
) -> None:
    async with an_inbox(counting) as inbox:
        counting.gate = asyncio.Event()
        counting.failures = [None, ValueError("one of them"), StoreUnavailableError("gone")]
        pairs = [[message({"n": number}, f"{number}-{place}") for place in (1, 2)] for number in range(5)]
        waiting = [asyncio.create_task(inbox.acceptor.accept_all(pair)) for pair in pairs[:1]]
        await until(lambda: bool(inbox.acceptor._committing))
        waiting += [asyncio.create_task(inbox.acceptor.accept_all(pair)) for pair in pairs[1:]]
        await until(lambda: inbox.acceptor.waiting == 8)
        counting.gate.set()
        first, *others = await asyncio.gather(*waiting, return_exceptions=True)

        assert not isinstance(first, BaseException), first
        assert [str(other) for other in others] == ["gone"] * 4
        assert len(await inbox.rows(t.inbox)) == 2


async def test_a_source_that_is_not_declared_is_the_callers_mistake(store: Store) -> None:
    async with an_inbox(store) as inbox:
        with pytest.raises(UsageError, match="declared are bank, shop"):
            await inbox.send({}, source="nobody")


async def test_what_waits_at_the_stop_is_stored_before_the_loop_ends(counting: CountingStore) -> None:
    async with an_inbox(counting) as inbox:
        counting.gate = asyncio.Event()
        waiting = [asyncio.create_task(inbox.send({"n": number})) for number in range(3)]
        await asyncio.sleep(0.01)
        inbox.acceptor.stop()
        with pytest.raises(OverloadedError):
            await inbox.send({"n": 9})
        counting.gate.set()

        assert [answer.kind for answer in await asyncio.gather(*waiting)] == ["event"] * 3


async def test_when_the_loop_is_cut_every_sender_is_told_so_at_once(counting: CountingStore) -> None:
    async with an_inbox(counting) as inbox:
        await inbox.send({"n": 0})
        counting.gate = asyncio.Event()
        first = asyncio.create_task(inbox.send({"n": 1}))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(inbox.send({"n": 2}))
        await asyncio.sleep(0.01)
        inbox.loop.cancel()

        async with asyncio.timeout(STILL_S_MAX):
            answers = await asyncio.gather(first, second, return_exceptions=True)
        assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
