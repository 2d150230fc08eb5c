"""Reviews and conflicts: listed until a person has closed them, with a note, once."""

from __future__ import annotations

from uuid import UUID

import pytest

from hub.errors import UsageError
from hub.operate.conflicts import list_conflicts, resolve_conflict
from hub.operate.review import list_reviews, resolve_review
from hub.store import tables as t
from tests.integration.operate.desk import Desk

ORDER = {"id": "order-1", "type": "order.made", "amount": 5}


async def _reviewed(desk: Desk) -> UUID:
    event = await desk.event()
    await desk.put(event, "done", outcome="unmatched")
    [row] = await desk.deliveries(event)
    review = {"delivery_id": row.id, "event_id": event, "outcome": "unmatched", "reason": "no such order"}
    await desk.add(t.reviews, {**review, "state": "open", "created_at": desk.clock.now()})
    return event


async def test_a_review_is_listed_until_somebody_resolves_it(desk: Desk) -> None:
    event = await _reviewed(desk)
    [open_one] = await list_reviews(desk.store)
    assert (open_one.event_id, open_one.route, open_one.outcome, open_one.source) == (
        event,
        "note",
        "unmatched",
        "shop",
    )

    await resolve_review(desk.store, desk.clock, str(event), actor="ana", note="assigned to order 7")

    assert await list_reviews(desk.store) == []
    [closed] = await list_reviews(desk.store, state=None, outcome="unmatched")
    assert (closed.state, closed.resolved_by, closed.note) == ("resolved", "ana", "assigned to order 7")
    [operation] = await desk.rows(t.operations)
    assert (operation.action, operation.target) == ("review.resolve", str(event))


async def test_a_review_is_resolved_once(desk: Desk) -> None:
    event = await _reviewed(desk)
    await resolve_review(desk.store, desk.clock, str(event), actor="ana", note="done")

    with pytest.raises(UsageError, match=f"no review of event {event} is open"):
        await resolve_review(desk.store, desk.clock, str(event), actor="bo", note="done too")
    with pytest.raises(UsageError, match="expected a note"):
        await resolve_review(desk.store, desk.clock, str(event), actor="bo", note="")


async def test_a_conflict_is_listed_until_somebody_resolves_it(desk: Desk) -> None:
    first, second = await desk.accept(ORDER, {**ORDER, "amount": 6})
    [conflict] = await list_conflicts(desk.store, source="shop")
    assert (second.kind, conflict.event_id) == ("conflict", first.event_id)

    await resolve_conflict(desk.store, desk.clock, str(conflict.id), actor="ana", note="the first holds")

    assert await list_conflicts(desk.store) == []
    assert [one.note for one in await list_conflicts(desk.store, state="resolved")] == ["the first holds"]
    with pytest.raises(UsageError, match="resolved already"):
        await resolve_conflict(desk.store, desk.clock, str(conflict.id), actor="bo", note="the second holds")
