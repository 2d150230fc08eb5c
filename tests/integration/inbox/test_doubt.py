"""Messages without an id from a broker that only flags what it hands out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from itertools import count
from uuid import uuid4

import pytest

from hub.errors import StoreUnavailableError
from hub.inbox.accept import GroupCommit
from hub.inbox.consumer import QueueConsumer
from hub.inbox.doubt import WINDOW
from hub.inbox.received import Accepted, Received
from hub.store import tables as t
from hub.store.store import Store
from hub.transports import Delivered
from hub.transports.base import HandedOut
from hub.transports.rabbit import RabbitTransport
from tests.integration.inbox.inboxes import CountingStore, Inbox, an_inbox, message
from tests.support.clock import SettableClock
from tests.support.patience import until

DELETE, RESTORE = b'{"card":"delete"}', b'{"card":"restore"}'


@pytest.fixture
async def inbox(store: Store, clock: SettableClock) -> AsyncIterator[Inbox]:
    async with an_inbox(store, clock=clock) as opened:
        yield opened


class Broker:
    """Hands messages out in sessions: what was not acknowledged comes again, flagged, in the next one."""

    def __init__(self) -> None:
        self.session = uuid4()
        self._numbers = count(1)

    def cut(self) -> None:
        self.session = uuid4()

    def hand_out(self, body: bytes, *, again: bool = False, queue: str = "shop.in") -> Received:
        handing = HandedOut(self.session, next(self._numbers), again)
        return message(body, unsure_queue=queue, redelivered=again, handed_out=handing)


BROKER = Broker()


async def handed_out(inbox: Inbox, body: bytes, *, again: bool = False, queue: str = "shop.in") -> Accepted:
    """One message; one that comes ``again`` does so in a session of its own."""
    if again:
        BROKER.cut()
    return await inbox.acceptor.accept(BROKER.hand_out(body, again=again, queue=queue))


async def test_equal_messages_that_come_for_the_first_time_are_events_of_their_own(inbox: Inbox) -> None:
    accepted = [await handed_out(inbox, body) for body in (DELETE, RESTORE, DELETE)]

    assert [one.kind for one in accepted] == ["event"] * 3
    assert len({one.event_id for one in accepted}) == 3


async def test_a_redelivery_is_the_event_whose_acknowledgement_is_in_doubt(inbox: Inbox) -> None:
    first = await handed_out(inbox, DELETE)

    again = await handed_out(inbox, DELETE, again=True)

    assert (again.kind, again.event_id) == ("duplicate", first.event_id)
    assert len(await inbox.rows(t.duplicates)) == 1


async def test_each_event_absorbs_one_redelivery(inbox: Inbox) -> None:
    firsts = [await handed_out(inbox, DELETE) for _ in range(2)]

    BROKER.cut()
    again = [await inbox.acceptor.accept(BROKER.hand_out(DELETE, again=True)) for _ in range(3)]

    assert [one.kind for one in again] == ["duplicate", "duplicate", "event"]
    # Which of two equal ones stands for which is nobody's loss.
    assert {one.event_id for one in again[:2]} == {one.event_id for one in firsts}


async def test_once_the_acknowledgement_is_proven_a_redelivery_is_another_message(inbox: Inbox) -> None:
    received = BROKER.hand_out(DELETE)
    await inbox.acceptor.accept(received)
    assert received.handed_out is not None
    await inbox.acceptor.forget("shop.in", [received.handed_out])

    again = await handed_out(inbox, DELETE, again=True)

    assert again.kind == "event"


async def test_acknowledgements_that_are_lost_one_after_the_other_make_one_event(inbox: Inbox) -> None:
    first = await handed_out(inbox, DELETE)

    again = [await handed_out(inbox, DELETE, again=True) for _ in range(3)]

    assert [(one.kind, one.event_id) for one in again] == [("duplicate", first.event_id)] * 3


async def test_a_proof_that_comes_late_does_not_end_the_doubt_about_a_later_handing_out(inbox: Inbox) -> None:
    early = BROKER.hand_out(DELETE)
    first = await inbox.acceptor.accept(early)
    await handed_out(inbox, DELETE, again=True)
    assert early.handed_out is not None
    await inbox.acceptor.forget("shop.in", [early.handed_out])

    assert (await handed_out(inbox, DELETE, again=True)).event_id == first.event_id


async def test_a_batch_that_is_stored_again_absorbs_itself_and_nothing_that_looks_like_it(inbox: Inbox) -> None:
    other = await handed_out(inbox, DELETE)
    batch = [BROKER.hand_out(DELETE), BROKER.hand_out(DELETE)]
    firsts = await inbox.acceptor.accept_all(batch)
    anew = [replace(one, redelivered=True) for one in batch]

    again = await inbox.acceptor.accept_all(anew)
    # A batch that never was stored before, and that the broker has not flagged, is nobody's repeat.
    BROKER.cut()
    late = await inbox.acceptor.accept_all([replace(BROKER.hand_out(DELETE), redelivered=True)])

    assert [one.kind for one in firsts] == ["event", "event"]
    assert [(one.kind, one.event_id) for one in again] == [("duplicate", one.event_id) for one in firsts]
    assert [one.kind for one in late] == ["event"]
    assert len({other.event_id, late[0].event_id, *(one.event_id for one in firsts)}) == 4


async def test_a_batch_that_meets_its_first_giving_in_one_commit_is_stored_once(store: Store) -> None:
    slow = CountingStore(store.writer, store.reader)
    async with an_inbox(slow) as inbox:
        slow.gate = asyncio.Event()
        received = BROKER.hand_out(DELETE)
        # Something holds the commit up, so that both wait for the next one.
        ahead = asyncio.create_task(inbox.send(RESTORE))
        await asyncio.sleep(0)
        both = [asyncio.create_task(inbox.acceptor.accept(replace(received, redelivered=r))) for r in (False, True)]
        await until(lambda: inbox.acceptor.waiting == 2)
        slow.gate.set()
        await ahead
        first, again = [await one for one in both]

        assert (again.kind, again.event_id) == ("duplicate", first.event_id)


class FailingOnce(GroupCommit):
    """Cannot write a proof down the first time."""

    failures = 1

    async def forget(self, queue: str, proven: Collection[HandedOut]) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError("away")
        await super().forget(queue, proven)


async def test_a_proof_that_could_not_be_written_down_is_before_anything_else_is_judged(store: Store) -> None:
    async with an_inbox(store) as inbox:
        inbox.acceptor.__class__ = FailingOnce
        consumer = QueueConsumer("shop", "shop.in", _NoStableTags(), inbox.acceptor)
        await consumer._accept([_delivered(1)])
        with pytest.raises(StoreUnavailableError):
            await consumer._forget([1])
        BROKER.cut()
        await consumer._accept([_delivered(2, again=True)])

        assert len(await inbox.rows(t.inbox)) == 2


class _NoStableTags(RabbitTransport):
    def __init__(self) -> None:
        """Nothing is connected: only what it can do is asked."""


def _delivered(tag: int, *, again: bool = False) -> Delivered:
    return Delivered(
        tag=tag,
        message_id=None,
        routing_key="card.changed",
        content_type="application/json",
        payload=DELETE,
        headers={},
        redelivered=again,
        timestamp=None,
        handed_out=HandedOut(BROKER.session, tag, again),
    )


async def test_after_ten_minutes_nothing_is_recognised_by_its_content(inbox: Inbox, clock: SettableClock) -> None:
    await handed_out(inbox, DELETE)
    clock.advance(WINDOW.total_seconds() + 1)

    assert (await handed_out(inbox, DELETE, again=True)).kind == "event"


async def test_another_queue_and_other_bytes_are_other_messages(inbox: Inbox) -> None:
    await handed_out(inbox, DELETE)

    assert (await handed_out(inbox, DELETE, again=True, queue="shop.other")).kind == "event"
    assert (await handed_out(inbox, RESTORE, again=True)).kind == "event"


async def test_an_unreadable_message_that_comes_again_is_answered_as_before(inbox: Inbox) -> None:
    first = await handed_out(inbox, b"{broken")

    again = await handed_out(inbox, b"{broken", again=True)

    assert (again.kind, again.event_id) == ("unreadable", first.event_id)
    assert len(await inbox.rows(t.inbox)) == 1


async def test_a_message_with_an_id_is_never_judged_by_its_content(inbox: Inbox) -> None:
    await handed_out(inbox, DELETE)

    BROKER.cut()
    other = await inbox.acceptor.accept(replace(BROKER.hand_out(DELETE, again=True), message_id="m-2"))

    assert other.kind == "event"
