"""A stored event: what became of it, and what today's rules make of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any
from uuid import uuid4

import pytest

from hub.errors import UsageError
from hub.explain import Explanation, explain_event, lines
from hub.explain.model import Rehearsal
from hub.inbox.received import Received
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.explain.comparing import (
    actual_messages,
    actual_postings,
    predicted_message_ids,
    predicted_messages,
    predicted_postings,
    row_counts,
    store_only,
)
from tests.integration.explain.shop import HANDLERS, ROUTES, SENT
from tests.support.clock import SettableClock
from tests.support.parts import Parts, assemble

CARD = "4111222233334444"


@pytest.fixture
async def parts(store: Store, clock: SettableClock) -> AsyncIterator[Parts]:
    SENT.clear()
    async with assemble(store, ROUTES, HANDLERS, clock=clock, start=False) as parts:
        yield parts


def message(type_: str, body: Mapping[str, Any] | bytes, **more: Any) -> Received:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Received(**{"source": "shop", "body": data, "routing_key": type_, "message_id": "m-1", **more})


def sale(**more: Any) -> dict[str, Any]:
    return {"key": "9", "number": "S1", "amount": 50_000, "card": CARD, **more}


async def deliver(parts: Parts) -> None:
    """Run a worker until nothing can run."""
    await parts.start()
    await parts.settle()
    await parts.stop()


def rehearsal_of(explained: Explanation, route: str) -> Rehearsal:
    (found,) = [one for one in explained.rehearsals if one.route == route]
    return found


async def test_what_is_predicted_of_a_waiting_event_is_what_its_delivery_does(parts: Parts) -> None:
    event = await store_only(parts, message("sale.made", sale()))
    before = await row_counts(parts.store)

    explained = await explain_event(parts, event.id)
    assert await row_counts(parts.store) == before
    await deliver(parts)

    assert explained.ok
    assert predicted_postings(explained) == await actual_postings(parts.store)
    assert predicted_messages(explained) == await actual_messages(parts)
    sent = {row.message_id for row in await parts.rows(t.outbox)}
    assert set(predicted_message_ids(explained)) <= sent
    assert len(predicted_message_ids(explained)) == 2


async def test_a_delivered_event_shows_how_it_really_went(parts: Parts) -> None:
    event = await store_only(parts, message("sale.made", sale()))
    await deliver(parts)
    await store_only(parts, message("sale.made", sale()))

    explained = await explain_event(parts, str(event.id))

    recorded = explained.to_dict()["recorded"]
    booked = next(one for one in recorded["deliveries"] if one["route"] == "book-sale")
    assert (booked["state"], booked["outcome"], booked["attempts"]) == ("done", "applied", 1)
    assert [posting["account"] for posting in booked["entries"][0]["postings"]] == ["shop:till", "shop:sales"]
    assert len(recorded["duplicates"]) == 1
    assert [one["destination"] for one in recorded["messages"]] == ["loyalty", "sales"]
    assert [one["type"] for one in recorded["trace"]] == ["sale.booked"]
    assert (explained.verification.verdict, explained.identity.status) == ("valid", "stored")


async def test_a_done_delivery_that_would_fail_now_is_no_problem(parts: Parts) -> None:
    event = await store_only(parts, message("sale.made", sale()))
    await deliver(parts)

    explained = await explain_event(parts, event.id)

    booked = rehearsal_of(explained, "book-sale")
    assert booked.play == "failed"
    assert booked.error is not None
    assert booked.error.name == "DuplicateReferenceError"
    assert booked.consequence is None
    assert any("will not run again" in note for note in booked.notes)
    assert explained.ok


async def test_a_parked_delivery_says_whether_a_retry_would_help(parts: Parts) -> None:
    event = await store_only(parts, message("points.spent", sale()))
    await store_only(parts, message("sale.booked", sale(amount=900_000, number="S0"), message_id="m-0"))
    parked = t.deliveries.update().where(t.deliveries.c.event_id == event.id)

    async def park(conn: Any) -> None:
        await conn.execute(parked.values(state="parked", attempts=12, reason="too few points"))

    await parts.store.write(park)
    hopeless = await explain_event(parts, event.id)
    await deliver(parts)
    helped = await explain_event(parts, event.id)

    assert not hopeless.ok
    assert rehearsal_of(hopeless, "spend-points").play == "failed"
    assert helped.ok
    assert rehearsal_of(helped, "spend-points").recorded == "parked"
    assert rehearsal_of(helped, "spend-points").entries[0].posting_of("points:9").delta.amount_minor == -50_000


async def test_a_step_that_the_provider_has_answered_is_taken_from_the_record(parts: Parts) -> None:
    event = await store_only(parts, message("card.charged", sale()))
    await deliver(parts)
    assert len(SENT) == 1
    reopened = t.deliveries.update().where(t.deliveries.c.event_id == event.id)

    async def reopen(conn: Any) -> None:
        await conn.execute(reopened.values(state="ready", finished_at=None))

    await parts.store.write(reopen)
    before = await row_counts(parts.store)
    explained = await explain_event(parts, event.id)

    charged = rehearsal_of(explained, "charge-card")
    assert [call.what for call in charged.calls] == ["on record as settled: not sent again"]
    assert charged.error is not None
    assert charged.error.name == "DuplicateReferenceError"
    assert len(SENT) == 1
    assert await row_counts(parts.store) == before


async def test_an_undecided_step_would_be_asked_about_or_goes_to_a_person(parts: Parts) -> None:
    event = await store_only(parts, message("card.charged", sale()))
    await deliver(parts)

    async def forget(conn: Any) -> None:
        await conn.execute(t.calls.update().values(state="unknown", outcome=None))
        await conn.execute(t.deliveries.update().values(state="ready", finished_at=None))

    await parts.store.write(forget)
    explained = await explain_event(parts, event.id)

    charged = rehearsal_of(explained, "charge-card")
    assert charged.error is not None
    assert "no way to ask" in charged.error.text
    assert not explained.ok


async def test_a_route_that_is_new_since_is_rehearsed_as_a_replay_would_run_it(
    parts: Parts, store: Store, clock: SettableClock
) -> None:
    event = await store_only(parts, message("sale.made", sale()))
    await deliver(parts)
    grown = ROUTES + "  - { name: tell-again, match: sale.made, publish: loyalty }\n"

    async with assemble(store, grown, HANDLERS, clock=clock, start=False) as today:
        explained = await explain_event(today, event.id)

    added = rehearsal_of(explained, "tell-again")
    assert (added.recorded, added.play, len(added.messages)) == (None, "done", 1)
    assert any("no delivery" in note for note in added.notes)


async def test_an_unreadable_event_shows_its_problem_and_is_not_rehearsed(parts: Parts) -> None:
    event = await store_only(parts, message("sale.made", b"{"))

    explained = await explain_event(parts, event.id)

    assert not explained.ok
    assert explained.problem is not None
    assert (explained.problem.line, explained.problem.column) == (1, 2)
    assert list(explained.rehearsals) == []
    assert any("cannot be read" in line for line in lines(explained))


async def test_an_emitted_event_says_who_made_it(parts: Parts) -> None:
    event = await store_only(parts, message("sale.made", sale()))
    await deliver(parts)
    trace = (await explain_event(parts, event.id)).to_dict()["recorded"]["trace"]

    emitted = await explain_event(parts, trace[0]["event_id"])

    assert emitted.verification.verdict == "trusted"
    assert emitted.identity.taken_from == "the handler that emitted it"


async def test_masked_fields_are_hidden_in_what_is_on_record_too(parts: Parts) -> None:
    event = await store_only(parts, message("wrong.asked", sale(how="permanent")))
    await deliver(parts)

    explained = await explain_event(parts, event.id)

    assert explained.to_dict()["recorded"]["deliveries"][0]["state"] == "parked"
    assert CARD not in json.dumps(explained.to_dict())
    assert CARD not in "\n".join(lines(explained))


async def test_an_unknown_event_is_refused(parts: Parts) -> None:
    with pytest.raises(UsageError, match="no event"):
        await explain_event(parts, uuid4())
