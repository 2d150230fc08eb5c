"""The console over HTTP: who may go where, what is found and shown, and what an action leaves behind."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.console.app import Console
from hub.console.visit import Place
from hub.ingress.tokens import GRANTS, Role
from hub.operate.events import EventFilter, EventSummary, list_events
from hub.operate.states import EVENT_STATES
from hub.retention.pruning import Pruner
from hub.retention.record import EventRecord
from hub.seal.witness import SealWitness
from hub.storage import Storage
from hub.store import tables as t
from tests.browser.stage import KEY, LARGE, OPERATOR_KEY, PASSWORD, STUCK, VIEWER_KEY, Visitor, deliver, order
from tests.support.patience import until
from tests.support.running import API_KEY, RunningHub

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = {("GET", "/console/login"), ("POST", "/console/login"), ("POST", "/console/logout")}
STATIC = "/console/static/{name}"
KEYS = {Role.VIEWER: VIEWER_KEY, Role.OPERATOR: OPERATOR_KEY, Role.ADMIN: API_KEY}


async def _examples(stage: RunningHub) -> dict[str, str]:
    [event] = [row for row in await stage.rows(t.tags) if row.value == LARGE]
    [conflict] = await stage.rows(t.conflicts)
    return {
        "/events/{id}": f"/events/{event.event_id}",
        "/conflicts/{id}": f"/conflicts/{conflict.id}",
        "{name}": "book-order",
        "{seq}": "999999",
        "{delivery}": "999999",
        "{capability}": "shop",
        "{page}": "files",
        "{file}": "workbook",
        "/ledger/account": "/ledger/account?code=member:mia",
        "/ledger/entry": "/ledger/entry?reference=order:o-1",
        "/files/workbook": "/files/workbook?month=march",
    }


def _filled(path: str, examples: dict[str, str]) -> str:
    path = re.sub(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}", r"{\1}", path)
    for pattern, example in examples.items():
        path = path.replace(pattern, example)
    assert "{" not in path, path
    return path


async def test_every_page_and_action_asks_for_its_role(stage: RunningHub) -> None:
    examples, places = await _examples(stage), Console(stage.hub).places
    wrong: list[tuple[object, ...]] = []
    for role in (None, *KEYS):
        async with Visitor(stage) as visitor:
            if role is not None:
                assert await visitor.sign_in(key=KEYS[role]) == 303
            for place in places:
                status, said = await _go(visitor, place, examples)
                if not _is_right(place, role, status):
                    wrong.append((role, place.method, place.path, status, said[-300:]))

    assert wrong == []
    assert {place.role for place in places} == set(KEYS)
    assert {place.role for place in places if place.method == "POST"} <= {Role.OPERATOR, Role.ADMIN}


async def _go(visitor: Visitor, place: Place, examples: dict[str, str]) -> tuple[int, str]:
    path = _filled(place.path, examples)
    return await (visitor.get(path) if place.method == "GET" else visitor.post(path))


def _is_right(place: Place, role: Role | None, status: int) -> bool:
    if role is None:
        return status == (303 if place.method == "GET" else 401)
    if place.role not in GRANTS[role]:
        return status == 403
    # An action without its fields is refused as such, or does what needs none.
    return status == 200 if place.method == "GET" else status in (303, 400)


async def test_no_path_of_the_console_is_without_a_guard(stage: RunningHub) -> None:
    console = Console(stage.hub)
    app = web.Application()
    app.add_subapp("/console", console.application())

    paths = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }

    guarded = {(one.method, f"/console{re.sub(r':[^/]*(?=})', '', one.path)}") for one in console.places}
    assert {(method, path) for method, path in paths if path != STATIC} - guarded == PUBLIC


async def test_pages_hold_no_secret_and_nothing_that_is_masked(stage: RunningHub) -> None:
    secrets = [PASSWORD, API_KEY, VIEWER_KEY, KEY, "0900"]
    [event] = [row for row in await stage.rows(t.tags) if row.value == LARGE]
    async with Visitor(stage) as visitor:
        await visitor.sign_in()
        pages = [(await visitor.get(path))[1] for path in ("/settings", f"/events/{event.event_id}", "/people")]

    assert [secret for secret in secrets if any(secret in page for page in pages)] == []
    assert "***" in pages[1]


async def test_what_a_sender_writes_never_becomes_markup(stage: RunningHub) -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
    assert await deliver(stage, order("evil-1", 5, code=evil)) == 200
    await stage.settled(also=frozenset({"waiting", "calling", "retrying"}))
    [event] = [row for row in await stage.rows(t.tags) if row.value == evil]

    async with Visitor(stage) as visitor:
        await visitor.sign_in(key=VIEWER_KEY)
        pages = [(await visitor.get(path))[1] for path in ("/events", f"/events/{event.event_id}", f"/events?q={evil}")]
        async with visitor.http.get(f"{visitor.url}/events") as response:
            policy = response.headers["Content-Security-Policy"]

    assert [page for page in pages if "<script>alert" in page or "<img src=x" in page] == []
    assert all("&lt;script&gt;" in page for page in pages[1:])
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


class _OnlyThis(SealWitness):
    """Lets one event go: others look at the rest of the stage."""

    def __init__(self, clock: Clock, event_id: UUID) -> None:
        super().__init__(clock)
        self._event_id = event_id

    async def may_prune(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> Sequence[EventRecord]:
        return [one for one in await super().may_prune(conn, records) if one.event_id == self._event_id]


async def test_an_archived_event_is_shown_with_its_proof_and_nothing_can_be_done_with_it(stage: RunningHub) -> None:
    hub, code = stage.hub, "ORD-ARCHIVED-1"
    assert await deliver(stage, order("a-1", 250, code=code, customer="ada")) == 200
    await stage.settled(also=frozenset({"waiting", "calling", "retrying"}))
    [event_id] = [row.event_id for row in await stage.rows(t.tags) if row.value == code]
    storage = Storage(hub._retention.archive)
    pruner = Pruner(hub.store, storage, hub.clock, witness=_OnlyThis(hub.clock, event_id))

    async def is_archived() -> bool:
        return (await pruner.run(timedelta(0))).events == 1

    await until(is_archived, "the event to be sealed and archived")
    [place] = await hub.archive.objects(limit=2)
    path = f"/events/{event_id}"
    async with Visitor(stage) as visitor:
        await visitor.sign_in()
        for search in (f"q={code}", "tag=order_code%3D" + code, f"q={str(event_id)[:13]}"):
            listed = (await visitor.get(f"/events?{search}"))[1].split('aria-label="In the archive"')[-1]
            assert f"/console/events/{event_id}" in listed, search
        status, page = await visitor.get(path)
        _, by_beginning = await visitor.get(path[:28])
        rehearsal = await visitor.get(f"{path}/rehearsal")
        async with visitor.http.post(
            f"{visitor.url}{path}/payload", data={"csrf": visitor.csrf, "reason": "a look"}
        ) as response:
            body = await response.read()

    assert status == 200
    assert all(
        word in page for word in (place.name, code, "book-order", "member:ada", "loyalty", "accepted by the scheme")
    )
    proof = page.split('aria-label="Proof"')[1].split("</table>")[0]
    assert ">NOT<" not in proof
    # The event, its delivery and message, an entry with its move, and two accounts.
    assert re.findall(r"(\d+) rows follow to their blocks, (\d+) are not", proof) == [("7", "0")]
    assert "Replay…" not in page
    assert place.name in by_beginning
    assert (rehearsal[0], "is in the archive" in rehearsal[1]) == (400, True)
    assert json.loads(body)["code"] == code
    assert [row.reason for row in await stage.rows(t.operations) if row.target == str(event_id)] == ["a look"]


async def test_an_event_is_found_by_whatever_somebody_has_in_hand(stage: RunningHub) -> None:
    [tag] = [row for row in await stage.rows(t.tags) if row.value == STUCK] or [None]
    assert tag is None, "a delivery that is parked has no effects, its tag among them"
    [event] = [row for row in await stage.rows(t.tags) if row.value == LARGE]
    async with stage.hub.store.reading() as conn:
        row = (await conn.execute(select(t.inbox).where(t.inbox.c.id == event.event_id))).one()

    async with Visitor(stage) as visitor:
        await visitor.sign_in(key=VIEWER_KEY)
        for asked in (LARGE, str(row.id), str(row.id)[:13], row.traceparent, row.traceparent[3:35], "mia", "o-1"):
            _, page = await visitor.get(f"/events?q={asked}")
            assert f'href="/console/events/{row.id}"' in page, asked


async def test_a_page_that_cannot_be_asked_for_says_so(stage: RunningHub) -> None:
    async with Visitor(stage) as visitor:
        await visitor.sign_in(key=VIEWER_KEY)
        for path, status in (
            ("/events?state=nonsense", 400),
            ("/events?before=x", 400),
            ("/events?since=yesterday", 400),
            ("/events?until=0001-01-01T00:00%2B23:00", 400),
            ("/events/00000000-0000-0000-0000-000000000000", 400),
            ("/undecided?after=x", 400),
            (f"/undecided?after=2026-01-31T12:00Z/{10**30}", 400),
            ("/undecided?after=0001-01-01T00:00%2B23:00/1", 400),
            ("/conflicts/00000000-0000-0000-0000-000000000000", 400),
            ("/conflicts/ffffffff-ffff-ffff-ffff-ffffffffffff", 400),
            ("/audit?before=x", 400),
            ("/calls?state=x", 400),
            ("/capabilities/shop/nothing", 404),
            ("/nothing", 404),
        ):
            found, page = await visitor.get(path)
            assert (path, found) == (path, status)
            assert 'role="alert"' in page


async def test_a_number_that_fits_nowhere_is_refused(stage: RunningHub) -> None:
    async with Visitor(stage) as visitor:
        await visitor.sign_in(key=OPERATOR_KEY)
        for path in ("/parked/preview", "/parked/apply"):
            for number in ("9" * 30, "9" * 5_000, "-1", "one"):
                status, page = await visitor.post(path, action="discard", reason="a test", delivery=number)
                assert (path, number, status) == (path, number, 400)
                assert "delivery: expected a whole number" in page


async def test_a_search_that_takes_too_long_says_so(stage: RunningHub, monkeypatch: pytest.MonkeyPatch) -> None:
    async def long_look(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("hub.console.pages.events.SEARCH_S_MAX", 0.05)
    for name in ("list_events", "find_events"):
        monkeypatch.setattr(f"hub.console.pages.events.{name}", long_look)
    async with Visitor(stage) as visitor:
        await visitor.sign_in(key=VIEWER_KEY)
        for path in ("/events", "/events?q=mia"):
            status, page = await visitor.get(path)
            assert (path, status) == (path, 503)
            assert "narrow the search" in page


async def test_the_story_of_every_event_is_shown(stage: RunningHub) -> None:
    """Also of those whose call has an outcome: a call that settled says no reason."""
    events = await stage.rows(t.inbox)
    async with Visitor(stage) as visitor:
        await visitor.sign_in()
        pages = [await visitor.get(f"/events/{one.id}") for one in events]

    assert [status for status, _ in pages] == [200] * len(events)
    assert {"settled", "unknown"} <= {one.state for one in await stage.rows(t.calls)}


async def test_a_conflict_says_what_differs(stage: RunningHub) -> None:
    examples = await _examples(stage)
    async with Visitor(stage) as visitor:
        await visitor.sign_in()
        status, page = await visitor.get(examples["/conflicts/{id}"])

    assert status == 200
    assert '<th scope="row">amount</th>' in page
    assert re.findall(r'data-label="(?:taken|came again)"><code>(\d+)', page) == ["4500", "4501"]


async def test_what_cannot_be_read_would_fail_again_and_looks_so(stage: RunningHub) -> None:
    async with Visitor(stage) as visitor:
        await visitor.sign_in()
        _, preview = await visitor.post("/parked/preview", action="retry", which="all", route="(unreadable)")

    assert re.findall(r'<span class="state (\w+)">(would [a-z ]+)<', preview) == [("bad", "would fail again")]


async def test_many_parked_deliveries_are_given_up_at_once_and_it_is_on_record(stage: RunningHub) -> None:
    for number in range(3):
        await deliver(stage, order(f"p-{number}", 5, code=f"ORD-P-{number}", shelf="b"))
    await stage.settled(also=frozenset({"waiting", "calling", "retrying"}))
    async with Visitor(stage) as visitor:
        await visitor.sign_in(key=OPERATOR_KEY)
        status, preview = await visitor.post("/parked/preview", action="discard", which="all", route="book-order")
        chosen = re.findall(r'name="delivery" value="(\d+)"', preview)
        parked = [row for row in await stage.rows(t.deliveries) if str(row.id) in chosen]
        assert (status, {row.state for row in parked}) == (200, {"parked"})
        form = [
            ("csrf", visitor.csrf),
            ("action", "discard"),
            ("reason", "a test"),
            *(("delivery", one) for one in chosen[1:]),
        ]
        async with visitor.http.post(f"{visitor.url}/parked/apply", data=form) as response:
            said = await response.text()

    after = {str(row.id): row.state for row in await stage.rows(t.deliveries) if str(row.id) in chosen}
    assert f"Discarded: {len(chosen) - 1}." in said
    assert after == {chosen[0]: "parked"} | dict.fromkeys(chosen[1:], "discarded")
    recorded = [row for row in await stage.rows(t.operations) if row.reason == "a test"]
    assert {(row.actor, row.action) for row in recorded} == {("oleg", "event.discard")}


async def test_the_record_cannot_be_changed(stage: RunningHub) -> None:
    for statement in ("UPDATE operations SET actor = 'nobody'", "DELETE FROM operations"):
        with pytest.raises(Exception, match="only ever added"):
            await stage.hub.store.write(lambda conn, statement=statement: conn.execute(text(statement)))  # type: ignore[misc]


async def test_a_file_of_a_capability_is_taken_by_operators_and_that_is_on_record(stage: RunningHub) -> None:
    async with Visitor(stage) as visitor:
        await visitor.sign_in(key=OPERATOR_KEY)
        url = f"{visitor.url}/capabilities/shop/files/files/workbook?month=april"
        async with visitor.http.get(url) as response:
            body, disposition = await response.read(), response.headers["Content-Disposition"]
        _, page = await visitor.get("/capabilities/shop/files?month=april")

    assert body == b"month\napril\n"
    assert disposition.startswith("attachment; ")
    assert "april.csv" in page
    assert "march.csv" not in page
    taken: Sequence[str] = [row.target for row in await stage.rows(t.operations) if row.action == "file.taken"]
    assert "shop/files/workbook" in taken


@pytest.mark.parametrize(
    "wanted",
    [
        EventFilter(),
        EventFilter(type="order.refunded"),
        EventFilter(source="shop", type="order.paid"),
        *(EventFilter(state=state) for state in EVENT_STATES),
        EventFilter(since=datetime(2020, 1, 1, tzinfo=UTC), until=datetime(2100, 1, 1, tzinfo=UTC)),
        EventFilter(until=datetime(2020, 1, 1, tzinfo=UTC)),
        EventFilter(since=datetime(2100, 1, 1, tzinfo=UTC)),
    ],
    ids=str,
)
async def test_a_search_in_steps_finds_what_a_whole_one_finds(stage: RunningHub, wanted: EventFilter) -> None:
    whole = await list_events(stage.hub.store, wanted, limit=1_000)
    found: list[EventSummary] = []
    before: int | None = None
    steps = 0
    while steps == 0 or before is not None:
        page = await list_events(stage.hub.store, wanted, before=before, limit=2, window=3)
        found, before, steps = [*found, *page.events], page.before, steps + 1
        assert steps < 100

    assert tuple(found) == whole.events
    assert whole.before is None


async def test_a_call_that_nobody_has_answered_for_is_seen_and_closed(stage: RunningHub) -> None:
    code = "ORD-CALL-1"
    assert await deliver(stage, order("call-1", 250, code=code, customer="ada")) == 200
    await stage.settled(also=frozenset({"waiting", "calling", "retrying"}))
    [event_id] = [row.event_id for row in await stage.rows(t.tags) if row.value == code]
    [delivery] = [row for row in await stage.rows(t.deliveries) if row.event_id == event_id]
    left = {"delivery_id": delivery.id, "step": "odd", "number": 1, "provider": "nobody", "key": "k-left", "lookups": 0}
    row = left | {"request_hash": bytes(16), "state": "started", "started_at": datetime(2026, 1, 1, tzinfo=UTC)}
    await stage.hub.store.write(lambda conn: conn.execute(insert(t.calls), [row]))
    action = f"/undecided/{delivery.id}"

    async with Visitor(stage) as viewer, Visitor(stage) as visitor:
        await viewer.sign_in(key=VIEWER_KEY)
        _, only_seen = await viewer.get("/undecided?provider=nobody")
        await visitor.sign_in(key=OPERATOR_KEY)
        _, page = await visitor.get("/undecided?provider=nobody")
        unsaid, _ = await visitor.post(action)
        status, _ = await visitor.post(action, reason="paid, says their page")
        _, after = await visitor.get("/undecided?provider=nobody")
        again, _ = await visitor.post(action, reason="once more")

    assert "the delivery is done, and nobody has said what became of this" in page
    assert (f"/console{action}" in page, f"/console{action}" in only_seen, "k-left" in only_seen) == (True, False, True)
    assert (unsaid, status, again) == (400, 303, 400)
    assert "k-left" not in after
    assert [row.reason for row in await stage.rows(t.operations) if row.action == "call.close"] == [
        "paid, says their page"
    ]


async def test_a_schedule_that_never_was_due_has_no_last_time(stage: RunningHub) -> None:
    await until(stage.knows_its_schedules, "the schedule to be looked at")
    async with Visitor(stage) as visitor:
        await visitor.sign_in()
        _, page = await visitor.get("/schedules")

    assert "sweep-orders" in page
    assert '<td class="nowrap" data-label="last"><span class="none">–</span></td>' in page
