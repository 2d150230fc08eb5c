"""Retry, discard and edit: on what is parked alone, on record, and the chain goes on."""

from __future__ import annotations

import asyncio
import json

import pytest

from hub.errors import UsageError
from hub.inbox.rows import UNREADABLE_ROUTE_ID
from hub.operate.equation import check
from hub.operate.event_details import payload_of, show_event
from hub.operate.parked import discard, edit, list_parked, retry
from hub.store import tables as t
from tests.integration.operate.desk import Desk, states

BROKEN = b'{"id": "order-9", "type": "order.paid", "key": "customer-1", "amount": 50'
MENDED = BROKEN + b"}"


async def test_a_parked_delivery_is_listed_with_its_reason_and_what_waits_behind_it(desk: Desk) -> None:
    head, *behind = [await desk.event(number) for number in range(4)]
    await desk.park(head, "no such account")
    for event in behind[:2]:
        await desk.put(event, "waiting")

    [parked] = await list_parked(desk.store)

    assert (parked.event_id, parked.route, parked.reason, parked.behind) == (head, "note", "no such account", 2)
    assert await list_parked(desk.store, route="copy") == []
    assert await list_parked(desk.store, source="elsewhere") == []
    assert await list_parked(desk.store, after=parked.delivery_id) == []


async def test_a_retried_delivery_becomes_the_head_of_its_chain_at_once(desk: Desk) -> None:
    event = await desk.event()
    await desk.park(event)

    [changed] = await retry(desk.store, desk.clock, str(event)[:23], actor="ana")

    [row] = await desk.deliveries(event)
    assert (row.state, row.attempts, row.next_at) == ("retrying", 0, desk.clock.now())
    [block] = await desk.rows(t.blocked)
    assert (block.chain, block.state, block.next_at) == (row.chain, "backoff", desk.clock.now())
    assert (changed.delivery_id, changed.route, changed.lane) == (row.id, "note", row.lane)
    [operation] = await desk.rows(t.operations)
    assert (operation.actor, operation.action, operation.target) == ("ana", "event.retry", str(event))


async def test_a_parked_delivery_that_had_left_its_chain_gets_a_row_to_be_found_by(desk: Desk) -> None:
    event = await desk.event()
    await desk.park(event)
    await desk.change(t.blocked)

    await retry(desk.store, desk.clock, str(event), actor="ana")

    assert [row.state for row in await desk.rows(t.blocked)] == ["backoff"]


async def test_one_of_two_parked_deliveries_is_retried_by_its_number(desk: Desk) -> None:
    event = await desk.event(type_="order.paid", amount=50)
    await desk.park(event)
    first, second = await desk.deliveries(event)

    await retry(desk.store, desk.clock, str(second.id), actor="ana")

    assert states(await desk.deliveries(event)) == ["parked", "retrying"]
    assert first.id < second.id


async def test_a_discarded_delivery_lets_its_chain_go_on(desk: Desk) -> None:
    head, behind = await desk.event(1, after="customer-2"), await desk.event(2)
    await desk.park(head)
    await desk.put(behind, "waiting")

    await discard(desk.store, desk.clock, str(head), actor="ana", reason="sent by mistake")

    [row] = await desk.deliveries(head)
    assert (row.state, row.finished_at) == ("discarded", desk.clock.now())
    assert await desk.rows(t.barriers) == []
    [block] = await desk.rows(t.blocked)
    assert (block.state, block.next_at) == ("backoff", desk.clock.now())
    assert (await check(desk.store)).violations == ()


async def test_a_chain_with_nothing_behind_is_free_after_a_discard(desk: Desk) -> None:
    event = await desk.event()
    await desk.park(event)

    await discard(desk.store, desk.clock, str(event), actor="ana", reason="a test")

    assert await desk.rows(t.blocked) == []


async def test_what_is_not_parked_is_left_alone(desk: Desk) -> None:
    event = await desk.event()
    await desk.put(event, "done")

    for action in (
        retry(desk.store, desk.clock, str(event), actor="ana"),
        discard(desk.store, desk.clock, str(event), actor="ana", reason="why not"),
        edit(desk.store, desk.clock, str(event), b"{}", actor="ana", reason="why not", rules=desk.rules),
    ):
        with pytest.raises(UsageError, match=f"nothing of event {event} is parked.*note is done"):
            await action

    assert await desk.rows(t.operations) == []


async def test_only_one_of_two_people_who_act_at_once_succeeds(desk: Desk) -> None:
    event = await desk.event()
    await desk.park(event)

    results = await asyncio.gather(
        retry(desk.store, desk.clock, str(event), actor="ana"),
        discard(desk.store, desk.clock, str(event), actor="bo", reason="a test"),
        return_exceptions=True,
    )

    assert sum(isinstance(result, UsageError) for result in results) == 1
    assert len(await desk.rows(t.operations)) == 1


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("0123", "there is no delivery 0123; expected a delivery's number or an event's id"),
        ("abc", "expected the id of an event or at least its first 8 characters, found 'abc'"),
        ("order-1 please", "expected the id of an event"),
        ("ffffffff-ffff", "there is no event ffffffff-ffff"),
    ],
)
async def test_an_unknown_target_is_refused_with_what_was_expected(desk: Desk, target: str, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        await retry(desk.store, desk.clock, target, actor="ana")

    assert expected in str(refused.value)


async def test_a_beginning_that_fits_several_events_is_refused(desk: Desk) -> None:
    first, second = await desk.event(1), await desk.event(2)

    with pytest.raises(UsageError) as refused:
        await retry(desk.store, desk.clock, str(first)[:8], actor="ana")

    assert str(first) in str(refused.value)
    assert str(second) in str(refused.value)


async def test_a_reason_and_a_name_are_asked_for(desk: Desk) -> None:
    event = await desk.event()
    await desk.park(event)

    with pytest.raises(UsageError, match="expected a reason"):
        await discard(desk.store, desk.clock, str(event), actor="ana", reason=" ")
    with pytest.raises(UsageError, match="expected the name"):
        await retry(desk.store, desk.clock, str(event), actor="")

    assert states(await desk.deliveries(event)) == ["parked"]


async def test_an_edited_event_runs_again_with_the_new_payload_and_keeps_the_old_one(desk: Desk) -> None:
    event = await desk.event()
    came = await payload_of(desk.store, str(event))
    await desk.park(event)
    mended = json.dumps({"id": "order-1", "type": "order.made", "key": "customer-1", "amount": 6}).encode()

    await edit(desk.store, desk.clock, str(event), mended, actor="ana", reason="wrong amount", rules=desk.rules)

    assert states(await desk.deliveries(event)) == ["retrying"]
    assert await payload_of(desk.store, str(event)) == came
    assert await payload_of(desk.store, str(event), corrected=True) == mended
    [correction] = (await show_event(desk.store, str(event), desk.sources)).corrections
    assert (correction.number, correction.corrected_by, correction.reason) == (1, "ana", "wrong amount")


async def test_a_payload_that_cannot_be_read_is_no_correction(desk: Desk) -> None:
    event = await desk.event()
    await desk.park(event)

    with pytest.raises(UsageError, match="still cannot be read: line 1, column 2"):
        await edit(desk.store, desk.clock, str(event), b"{", actor="ana", reason="mend", rules=desk.rules)

    assert await desk.rows(t.corrections) == []
    assert states(await desk.deliveries(event)) == ["parked"]


async def test_an_unreadable_event_becomes_a_readable_one_by_an_edit(desk: Desk) -> None:
    [accepted] = await desk.accept(BROKEN)
    assert accepted.kind == "unreadable"
    event = accepted.event_id

    await edit(desk.store, desk.clock, str(event), MENDED, actor="ana", reason="a brace", rules=desk.rules)

    shown = await show_event(desk.store, str(event), desk.sources)
    assert (shown.type, shown.key, shown.dedupe_id) == ("order.paid", "customer-1", "order-9")
    assert (shown.problem, shown.state) == (None, "waiting")
    assert [(one.route, one.state, one.outcome) for one in shown.deliveries] == [
        ("(unreadable)", "done", "corrected"),
        ("note", "ready", None),
        ("copy", "ready", None),
    ]
    [repeat] = await desk.accept(MENDED)
    assert (repeat.kind, repeat.event_id) == ("duplicate", event)
    assert (await check(desk.store)).violations == ()


async def test_an_edit_cannot_take_the_identity_of_another_event(desk: Desk) -> None:
    [accepted] = await desk.accept(BROKEN)
    holder = await desk.event(9)

    with pytest.raises(UsageError, match=f"belongs to event {holder}: it is a repeat"):
        await edit(
            desk.store, desk.clock, str(accepted.event_id), MENDED, actor="ana", reason="a brace", rules=desk.rules
        )

    assert states(await desk.deliveries(accepted.event_id)) == ["parked"]
    assert await desk.rows(t.corrections) == []


async def test_an_unreadable_event_is_not_simply_run_again(desk: Desk) -> None:
    [accepted] = await desk.accept(BROKEN)

    with pytest.raises(UsageError, match="could not be read: edit or discard it"):
        await retry(desk.store, desk.clock, str(accepted.event_id), actor="ana")
    with pytest.raises(UsageError, match="still cannot be read"):
        await retry(desk.store, desk.clock, str(accepted.event_id), actor="ana", rules=desk.rules)


async def test_an_unreadable_event_can_be_discarded(desk: Desk) -> None:
    [accepted] = await desk.accept(BROKEN)

    await discard(desk.store, desk.clock, str(accepted.event_id), actor="ana", reason="noise")

    [row] = await desk.deliveries(accepted.event_id)
    assert (row.route_id, row.state) == (UNREADABLE_ROUTE_ID, "discarded")
    assert (await check(desk.store)).violations == ()
