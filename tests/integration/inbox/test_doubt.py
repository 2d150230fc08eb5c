"""Messages without an id from a broker that only flags what it hands out again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hub.inbox.doubt import WINDOW
from hub.inbox.received import Accepted
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.inbox.inboxes import Inbox, an_inbox
from tests.support.clock import SettableClock

DELETE, RESTORE = b'{"card":"delete"}', b'{"card":"restore"}'


@pytest.fixture
async def inbox(store: Store, clock: SettableClock) -> AsyncIterator[Inbox]:
    async with an_inbox(store, clock=clock) as opened:
        yield opened


async def handed_out(inbox: Inbox, body: bytes, *, again: bool = False, queue: str = "shop.in") -> Accepted:
    return await inbox.send(body, unsure_queue=queue, redelivered=again)


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

    again = [await handed_out(inbox, DELETE, again=True) for _ in range(3)]

    assert [one.kind for one in again] == ["duplicate", "duplicate", "event"]
    # Which of two equal ones stands for which is nobody's loss.
    assert {one.event_id for one in again[:2]} == {one.event_id for one in firsts}


async def test_once_the_acknowledgement_is_proven_a_redelivery_is_another_message(inbox: Inbox) -> None:
    first = await handed_out(inbox, DELETE)
    await inbox.acceptor.forget("shop.in", [first.event_id])

    again = await handed_out(inbox, DELETE, again=True)

    assert again.kind == "event"


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

    other = await inbox.send(DELETE, "m-2", unsure_queue="shop.in", redelivered=True)

    assert other.kind == "event"
