"""The envelope: what came is what is kept, to the byte."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import SystemClock
from hub.deliver.picker import pick
from hub.deliver.work import Work
from hub.event import LANES, Verdict
from hub.inbox.received import Received
from hub.inbox.route_ids import register_routes
from hub.inbox.rows import store_drafts
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.inbox.inboxes import ROUTING, an_inbox
from tests.support.parts import wiring_of

HEADER_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    body=st.binary(max_size=2_000),
    headers=st.dictionaries(HEADER_TEXT, HEADER_TEXT, max_size=5),
    verdict=st.sampled_from(list(Verdict)),
)
async def test_any_bytes_and_headers_come_back_as_they_were(
    store: Store, body: bytes, headers: dict[str, str], verdict: Verdict
) -> None:
    async with an_inbox(store) as inbox:
        answer = await inbox.send(body, headers=headers, verdict=verdict)

        [row] = [row for row in await inbox.rows(t.inbox) if row.id == answer.event_id]
        assert bytes(row.payload) == body
        assert (row.headers, row.verdict) == (headers, str(verdict))


async def test_the_carriers_words_are_kept_in_any_script(store: Store) -> None:
    async with an_inbox(store) as inbox:
        await inbox.send(
            '{"key":"khách hàng 7","имя":"Ювелирный"}'.encode(),
            "сообщение-1",
            routing_key="сustomer.card.changeCategory",
            headers={"x-ghi-chú": "đã thanh toán 🎉"},
            content_type="application/json; charset=utf-8",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )

        [row] = await inbox.rows(t.inbox)
        assert (row.key, row.message_id, row.type) == ("khách hàng 7", "сообщение-1", "сustomer.card.changeCategory")
        assert row.headers == {"x-ghi-chú": "đã thanh toán 🎉"}
        assert row.traceparent == "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_delivery_reads_the_very_event_that_was_accepted(store: Store) -> None:
    clock = SystemClock()
    wiring = wiring_of(ROUTING, {}, clock)
    received = Received(
        source="shop",
        body='{"key": "α", "amount": 135.0000}'.encode(),
        routing_key="order.placed",
        message_id="m-1",
        headers={"x-a": "ü"},
    )
    draft = wiring.drafter.draft(received)

    async def work(conn: AsyncConnection) -> list[Work]:
        numbers = await register_routes(conn, wiring.router.routes)
        await store_drafts(conn, [draft], route_ids=numbers, now=clock.now())
        return (await pick(conn, range(LANES), limit=10, now=clock.now())).works

    [picked] = await store.write(work)

    event = picked.event
    assert event.seq > 0
    assert str(event.data["amount"]) == "135.0000"
    names = "id source type key dedupe_id payload headers traceparent verdict message_id routing_key content_type"
    for name in names.split():
        assert getattr(event, name) == getattr(draft.event, name), name
    assert (event.received_at, event.occurred_at) == (draft.event.received_at, draft.event.occurred_at)
