"""Reviews: a delivery puts its result on a person's list, and a later one may take it off again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import give, message, route, routing
from tests.support.parts import Parts, assemble

ROUTES = routing(route("doubt", "doubt", match="doubted"), route("settle", "settle", match="settled"))


@handler
async def doubt(_: Event, ctx: Context) -> None:
    ctx.review("unmatched", "no such order")


@handler
async def settle(event: Event, ctx: Context) -> None:
    """Settles what its event names; may ask for a review of its own, and may fail afterwards."""
    ctx.resolve_review(UUID(event.data["of"]), "the order came")
    if event.data.get("doubts"):
        ctx.review("too_late", "the order was cancelled")
    if event.data.get("fails"):
        raise RuntimeError("not this time")


HANDLERS = {"doubt": doubt, "settle": settle}


async def reviews(parts: Parts) -> list[Any]:
    rows = sorted(await parts.rows(t.reviews), key=lambda row: row.delivery_id)
    return [(row.event_id, row.state, row.resolved_by, row.note) for row in rows]


def of(event_id: UUID, **more: bool) -> dict[str, Any]:
    return {"of": str(event_id), "key": str(event_id), **more}


async def test_a_handler_resolves_what_an_earlier_delivery_put_on_the_list(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        [first, other] = await give(parts, message("doubted", {"n": 1}), message("doubted", {"n": 2}))
        await parts.settle()

        await give(parts, message("settled", of(first)))
        await parts.settle()

        resolved, left = await reviews(parts)
        assert resolved == (first, "resolved", "route settle", "the order came")
        assert left == (other, "open", None, None)
        assert all(row.resolved_at is not None for row in await parts.rows(t.reviews) if row.state == "resolved")


async def test_its_own_review_stays_and_nothing_to_resolve_is_no_error(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        [first] = await give(parts, message("doubted", {"n": 1}))
        await parts.settle()

        [second] = await give(parts, message("settled", of(first, doubts=True)))
        [third] = await give(parts, message("settled", of(first)))
        await parts.settle()

        assert [(event, state) for event, state, *_ in await reviews(parts)] == [(first, "resolved"), (second, "open")]
        assert {row.event_id: row.state for row in await parts.deliveries()}[third] == "done"


async def test_within_one_batch_only_what_was_asked_before_is_resolved(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS, start=False) as parts:
        [first] = await give(parts, message("doubted", {"n": 1}))
        await give(parts, message("settled", of(first)))
        await parts.start()

        await parts.settle()

        assert [state for _, state, *_ in await reviews(parts)] == ["resolved"]


async def test_a_delivery_that_fails_resolves_nothing(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        [first] = await give(parts, message("doubted", {"n": 1}))
        await give(parts, message("settled", of(first, fails=True)))

        await parts.settle()

        assert [state for _, state, *_ in await reviews(parts)] == ["open"]
        assert sorted(row.state for row in await parts.deliveries()) == ["done", "parked"]
