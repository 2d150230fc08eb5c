"""Events are found by what people know of them, and show everything that came of them."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, Select, delete, select

from hub.errors import UsageError
from hub.event import chain_of, trace_id_of
from hub.ledger import Account, Book, Move
from hub.money import Money
from hub.operate.event_details import payload_of, show_event
from hub.operate.events import SKEW_S, EventFilter, list_events
from hub.operate.masking import Mask, mask_of
from hub.operate.parked import discard
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.operate.desk import Desk


async def test_a_time_is_found_between_numbers_with_gaps(desk: Desk) -> None:
    assert await found(desk.store, since=desk.clock.now(), until=desk.clock.now()) == []
    times = []
    for number in range(12):
        # Far apart, so that the clocks of two processes could not tell it either.
        desk.clock.advance(2 * SKEW_S)
        times.append(desk.clock.now())
        await desk.event(number)
    gone = t.inbox.c.dedupe_id.in_([f"order-{number}" for number in (0, 4, 5, 6, 11)])
    await desk.store.write(
        lambda conn: conn.execute(delete(t.deliveries).where(t.deliveries.c.event_id.in_(_ids(gone))))
    )
    await desk.store.write(lambda conn: conn.execute(delete(t.inbox).where(gone)))
    left = [number for number in range(12) if number not in (0, 4, 5, 6, 11)]
    for at in (*times, *(time + timedelta(seconds=SKEW_S) for time in times)):
        later = [f"order-{number}" for number in reversed(left) if times[number] >= at]
        earlier = [f"order-{number}" for number in reversed(left) if times[number] < at]

        assert await found(desk.store, since=at) == later
        assert await found(desk.store, until=at) == earlier


def _ids(where: ColumnElement[bool]) -> Select[UUID]:
    return select(t.inbox.c.id).where(where)


async def found(store: Store, **wanted: object) -> list[str | None]:
    page = await list_events(store, EventFilter(**wanted))  # type: ignore[arg-type]
    return [event.dedupe_id for event in page.events]


async def test_events_are_found_by_each_thing_that_is_known_of_them(desk: Desk) -> None:
    first = await desk.event(1)
    desk.clock.advance(60)
    later = desk.clock.now()
    second = await desk.event(2, type_="order.paid", key="customer-2", amount=50)
    await desk.add(t.tags, {"name": "order_code", "value": "ORD2", "event_id": second})
    await desk.put(second, "done")

    assert await found(desk.store) == ["order-2", "order-1"]
    assert await found(desk.store, event_id=str(first)) == ["order-1"]
    assert await found(desk.store, key="customer-2") == ["order-2"]
    assert await found(desk.store, dedupe_id="order-1") == ["order-1"]
    assert await found(desk.store, source="shop", type="order.paid") == ["order-2"]
    assert await found(desk.store, since=later) == ["order-2"]
    assert await found(desk.store, since=later + timedelta(seconds=1)) == []
    assert await found(desk.store, tag="ORD2") == ["order-2"]
    assert await found(desk.store, tag="order_code=ORD2") == ["order-2"]
    assert await found(desk.store, tag="member=ORD2") == []
    assert await found(desk.store, state="applied") == ["order-2"]
    assert await found(desk.store, state="waiting") == ["order-1"]
    assert await found(desk.store, state="parked") == []
    assert await found(desk.store, key="customer-1", state="applied") == []


async def test_events_are_found_by_their_trace_and_by_what_caused_them(desk: Desk) -> None:
    [first, *_] = [await desk.event(number) for number in (1, 2)]
    [stored] = await desk.rows(t.inbox, t.inbox.c.id == first)
    emitted = desk.wiring.drafter.internal(
        "wallet.credited", b"{}", dedupe_id="emitted", traceparent=stored.traceparent, hops=1, cause=first
    )
    await desk.accept_drafts(emitted)

    assert await found(desk.store, trace=trace_id_of(stored.traceparent)) == ["emitted", "order-1"]
    assert await found(desk.store, trace=stored.traceparent.upper()) == ["emitted", "order-1"]
    assert await found(desk.store, trace="0" * 32) == []
    assert await found(desk.store, cause=str(first)[:13]) == ["emitted"]
    assert await found(desk.store, cause=str(emitted.event.id)) == []
    shown = await show_event(desk.store, str(emitted.event.id), desk.sources)
    assert (shown.cause, [one.id for one in shown.trace]) == (first, [first])
    with pytest.raises(UsageError, match="expected a trace id of 32 hex digits, found 'abc'"):
        await found(desk.store, trace="abc")


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        (f"{t.trace_id} = '00'", "ix_inbox_trace"),
        ("cause = '00000000-0000-7000-8000-000000000000'", "ix_inbox_cause"),
    ],
)
async def test_such_a_search_is_answered_by_an_index(store: Store, condition: str, index: str) -> None:
    async with store.reading() as conn:
        explain = "EXPLAIN QUERY PLAN"
        if store.dialect == "postgresql":
            # A table of a few rows is read whole, whatever its indexes are.
            await conn.exec_driver_sql("SET LOCAL enable_seqscan = off")
            explain = "EXPLAIN"
        plan = list(await conn.exec_driver_sql(f"{explain} SELECT id FROM inbox WHERE {condition}"))

    assert index in str(plan)


async def test_an_event_that_no_route_took_is_found_as_unmatched(desk: Desk) -> None:
    await desk.event(1)
    await desk.event(2, type_="odd")

    assert await found(desk.store, state="unmatched") == ["order-2"]


async def test_a_long_list_comes_in_pages_without_gaps(desk: Desk) -> None:
    for number in range(5):
        await desk.event(number)

    seen, before = [], None
    while True:
        page = await list_events(desk.store, before=before, limit=2)
        seen.append([event.dedupe_id for event in page.events])
        before = page.before
        if before is None:
            break

    assert seen == [["order-4", "order-3"], ["order-2", "order-1"], ["order-0"]]


async def test_an_unknown_state_is_refused_with_the_known_ones(desk: Desk) -> None:
    with pytest.raises(UsageError, match=r"expected a state of an event \(parked, .*found 'lost'"):
        await list_events(desk.store, EventFilter(state="lost"))


async def test_an_event_shows_what_came_in_with_masked_fields_hidden(desk: Desk) -> None:
    body = json.dumps({"id": "o", "type": "order.made", "phone": "+84 90", "amount": 1.50, "lines": [{"name": "x"}]})
    [accepted] = await desk.accept(body.encode(), headers={"x-customer": "Ana", "x-request": "r1"})

    shown = await show_event(desk.store, str(accepted.event_id)[:13], desk.sources)

    assert (shown.id, shown.source, shown.type, shown.verdict) == (accepted.event_id, "shop", "order.made", "valid")
    assert (shown.dedupe_id, shown.key, shown.state) == ("o", None, "waiting")
    assert shown.content.payload_bytes == len(body)
    assert shown.content.sha256 == hashlib.sha256(body.encode()).hexdigest()
    assert json.loads(shown.content.text) == {**json.loads(body), "phone": "***", "lines": [{"name": "***"}]}
    assert '"amount": 1.5' in shown.content.text
    assert shown.headers == {"x-customer": "***", "x-request": "r1"}
    assert await payload_of(desk.store, str(accepted.event_id)) == body.encode()


def test_numbers_keep_their_digits_when_something_is_masked() -> None:
    payload = b'{"rate": 135.0000, "id": 12345678901234567890, "phone": 1, "to": [{"phone": "2"}, {"phone": null}]}'

    text = Mask(["data.phone", "data.to.1.phone"]).payload(payload)

    assert text == (
        '{"rate": 135.0000, "id": 12345678901234567890, "phone": "***", "to": [{"phone": "2"}, {"phone": "***"}]}'
    )


def test_nothing_of_a_payload_is_shown_that_cannot_be_masked() -> None:
    assert "+84" not in Mask(["data.phone"]).payload(b'{"phone": "+84')
    assert "+84" not in mask_of("gone", {}).payload(b'{"phone": "+84"}')
    assert mask_of("internal", {}).payload(b'{"a": 1}') == '{"a": 1}'


async def test_an_event_shows_its_repeats_and_what_was_sent_under_its_identity(desk: Desk) -> None:
    order = {"id": "order-1", "type": "order.made", "amount": 5}
    first, *_ = await desk.accept(order, order, {**order, "amount": 6, "phone": "+84"})

    shown = await show_event(desk.store, str(first.event_id), desk.sources)

    assert shown.duplicates == (desk.clock.now(),)
    [conflict] = shown.conflicts
    assert (conflict.state, json.loads(conflict.content.text)["phone"]) == ("open", "***")


async def test_a_delivery_shows_attempts_calls_review_messages_and_what_it_waits_behind(desk: Desk) -> None:
    head, event = await desk.event(1), await desk.event(2)
    await desk.park(head, "no such account")
    [row] = await desk.deliveries(event)
    now = desk.clock.now()
    await desk.add(t.attempts, _attempt(desk, row.id))
    await desk.add(t.calls, _call(desk, row.id))
    await desk.add(t.reviews, {**_review(desk, row.id), "event_id": event})
    await desk.add(t.outbox, {**_message(desk, row.id), "event_id": event})

    [delivery] = (await show_event(desk.store, str(event), desk.sources)).deliveries

    assert (delivery.route, delivery.state, delivery.waits_behind) == ("note", "ready", head)
    assert [(one.error, one.started_at) for one in delivery.failed] == [("TimeoutError", now)]
    assert [(one.provider, one.state, one.outcome) for one in delivery.calls] == [
        ("bank", "unknown", {"reason": "lost"})
    ]
    assert delivery.review is not None
    assert delivery.review.outcome == "unmatched"
    [message] = (await show_event(desk.store, str(event), desk.sources)).messages
    assert (message.destination, message.routing_key, message.payload_bytes) == ("loyalty", "order.made", 2)


async def test_a_merge_waits_behind_the_other_customer_and_shows_it(desk: Desk) -> None:
    other = await desk.event(1, key="customer-2")
    await desk.park(other)
    merge = await desk.event(2, key="customer-1", after="customer-2")
    later = await desk.event(3, key="customer-2")

    shown = [await show_event(desk.store, str(event), desk.sources) for event in (merge, later)]

    assert [one.deliveries[0].waits_behind for one in shown] == [other, other]
    await discard(desk.store, desk.clock, str(other), actor="ana", reason="a test")
    shown = [await show_event(desk.store, str(event), desk.sources) for event in (merge, later)]
    assert [one.deliveries[0].waits_behind for one in shown] == [None, merge]
    assert chain_of(1, "customer-2") in {row.chain for row in await desk.rows(t.barriers)}


async def test_an_event_shows_its_postings_its_trace_and_what_people_did(desk: Desk) -> None:
    event = await desk.event()
    [stored] = await desk.rows(t.inbox)
    bank, wallet = Account("bank", "VND", "debit", running=False), Account("wallet:1", "VND", "credit")

    async def post(conn: object) -> None:
        book = Book(conn, now=desk.clock.now(), slot=0)  # type: ignore[arg-type]
        move = Move(bank, wallet, Money(500, "VND"))
        await book.post(reference="top-up:1", kind="top_up", moves=[move], event_id=event)
        await book.flush()

    await desk.store.write(post)
    emitted = desk.wiring.drafter.internal("wallet.credited", b"{}", traceparent=stored.traceparent, hops=1)
    await desk.accept_drafts(emitted)
    await desk.add(t.timers, _timer(desk, stored.traceparent))
    await desk.park(event)
    await discard(desk.store, desk.clock, str(event), actor="ana", reason="enough")

    shown = await show_event(desk.store, str(event), desk.sources)

    [entry] = shown.postings
    assert [(one.account, one.after) for one in entry.postings][1] == ("wallet:1", Money(500, "VND"))
    assert [(one.type, one.hops) for one in shown.trace] == [("wallet.credited", 1)]
    assert [one.type for one in shown.timers] == ["check"]
    assert [(one.actor, one.action, one.reason) for one in shown.operations] == [("ana", "event.discard", "enough")]
    back = await show_event(desk.store, str(emitted.event.id), desk.sources)
    assert [one.id for one in back.trace] == [event]


def _attempt(desk: Desk, delivery: int) -> dict[str, object]:
    now = desk.clock.now()
    return {
        "id": desk.clock.new_id(),
        "delivery_id": delivery,
        "started_at": now,
        "duration_ms": 1.5,
        "error": "TimeoutError",
    }


def _call(desk: Desk, delivery: int) -> dict[str, object]:
    return {
        "delivery_id": delivery,
        "step": "give",
        "number": 1,
        "provider": "bank",
        "key": "k",
        "request_hash": b"h" * 16,
        "state": "unknown",
        "outcome": {"reason": "lost"},
        "started_at": desk.clock.now(),
        "lookups": 0,
    }


def _review(desk: Desk, delivery: int) -> dict[str, object]:
    return {
        "delivery_id": delivery,
        "outcome": "unmatched",
        "reason": "no such order",
        "state": "open",
        "created_at": desk.clock.now(),
    }


def _message(desk: Desk, delivery: int) -> dict[str, object]:
    return {
        "seq": 1,
        "message_id": "m1",
        "delivery_id": delivery,
        "destination": "loyalty",
        "routing_key": "order.made",
        "key": None,
        "lane": 1,
        "chain": 1,
        "content_type": "application/json",
        "payload": b"{}",
        "headers": {},
        "state": "ready",
        "attempts": 0,
        "created_at": desk.clock.now(),
    }


def _timer(desk: Desk, traceparent: str) -> dict[str, object]:
    return {
        "id": desk.clock.new_id(),
        "due_at": desk.clock.now(),
        "type": "check",
        "dedupe_id": "d",
        "payload": b"{}",
        "traceparent": traceparent,
        "hops": 1,
    }
