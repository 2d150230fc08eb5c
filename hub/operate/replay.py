"""Replay: stored events by the rules of today. What is done is never run again.

Only pairs of event and route that never ran get a delivery; parked ones are tried again, and refused ones, whose proof
may have failed for want of a setting. For the others the answer says how they stand.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import Row, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.deliver.work import event_of
from hub.errors import UsageError
from hub.event import delivery_id_of
from hub.inbox.draft import Draft
from hub.inbox.rows import UNREADABLE_ROUTE_ID, insert_deliveries
from hub.operate.acting import record, take_turn
from hub.operate.lookup import UNREADABLE, deliveries_of, find_event, route_names
from hub.operate.parked import RUN_AGAIN_STATES, retry_rows
from hub.operate.reading import TodaysRules, accept_reread, load_event
from hub.ownership.announcing import announce
from hub.ownership.holding import DELIVER
from hub.routing import RouteMatch
from hub.seal.members import note_late
from hub.store import tables as t
from hub.store.store import Store

EVENTS_MAX = 1_000
"""How many events one replay may take."""

Verdict: TypeAlias = Literal["new", "retried", "reread", "under way", "done before", "no longer matched", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What a replay does, or would do, with one event on one route.

    new                a delivery is made
    retried            it was parked or refused and is tried again
    reread             the event could not be read and now it can
    under way          it waits or runs already
    done before        finished (``state`` says how): nothing is run
    no longer matched  it was made by a rule that does not take the event today; it stays as it is
    unreadable         the event still cannot be read: ``detail`` says why
    """

    event_id: UUID
    route: str
    verdict: Verdict
    state: str | None
    detail: str = ""
    lane: int | None = None

    @property
    def is_run(self) -> bool:
        """Whether the replay has it run, or would."""
        return self.verdict in ("new", "retried", "reread")


@dataclass(frozen=True, slots=True)
class _Stored:
    row: Row[Any]
    made: Mapping[int, Row[Any]]
    names: Mapping[int, str]


async def replay(
    store: Store,
    clock: Clock,
    events: Sequence[str],
    rules: TodaysRules,
    *,
    apply: bool,
    actor: str = "",
    reason: str = "",
    routes: Collection[str] = (),
) -> list[Pair]:
    """What today's rules make of these events (ids or their beginnings); with ``apply``, do it, each event by itself.

    With ``routes`` only what is for these. An event that could not be read goes to all that take it all the same.

    Raises UsageError for an unknown event, before anything is done.
    """
    if len(events) > EVENTS_MAX:
        raise UsageError(f"expected at most {EVENTS_MAX} events at once, found {len(events)}")
    if apply and not actor.strip():
        raise UsageError("expected the name of who does this, found none")
    async with store.reading() as conn:
        ids = [await find_event(conn, event) for event in dict.fromkeys(events)]
    pairs: list[Pair] = []
    for event_id in dict.fromkeys(ids):
        if not apply:
            async with store.reading() as conn:
                pairs += await _plan(conn, event_id, rules, routes)
            continue

        async def work(conn: AsyncConnection, event_id: UUID = event_id) -> list[Pair]:
            return await _apply(conn, clock, event_id, rules, actor=actor, reason=reason, routes=routes)

        pairs += await store.write(work)
    return pairs


async def _plan(conn: AsyncConnection, event_id: UUID, rules: TodaysRules, routes: Collection[str]) -> list[Pair]:
    stored = await _load(conn, event_id)
    if _is_unreadable(stored):
        return [_reading(stored, rules)[0]]
    return _asked_for(_pairs(stored, _matches(stored, rules), rules), routes)


async def _apply(
    conn: AsyncConnection,
    clock: Clock,
    event_id: UUID,
    rules: TodaysRules,
    *,
    actor: str,
    reason: str,
    routes: Collection[str],
) -> list[Pair]:
    await take_turn(conn)
    stored = await _load(conn, event_id, lock=True)
    if _is_unreadable(stored):
        pair, draft = _reading(stored, rules)
        if draft is None:
            return [pair]
        await accept_reread(conn, clock, draft, rules.route_ids)
        pairs = [pair]
    else:
        matches = [match for match in _matches(stored, rules) if not routes or match.route.name in routes]
        pairs = _asked_for(_pairs(stored, _matches(stored, rules), rules), routes)
        await _make(conn, stored, matches, rules)
        again = [
            row for row in stored.made.values() if _verdict_of(row) == "retried" and _is_taken(row, matches, rules)
        ]
        if again:
            await retry_rows(conn, clock, again)
    run = [pair for pair in pairs if pair.is_run]
    if run:
        await record(conn, clock, actor=actor, action="event.replay", target=event_id, reason=reason)
        await announce(conn, DELIVER, [pair.lane for pair in run if pair.lane is not None])
    return pairs


async def _load(conn: AsyncConnection, event_id: UUID, *, lock: bool = False) -> _Stored:
    row = await load_event(conn, event_id, lock=lock)
    made = {row.route_id: row for row in await deliveries_of(conn, event_id)}
    return _Stored(row, made, await route_names(conn))


def _is_unreadable(stored: _Stored) -> bool:
    return stored.row.problem is not None


def _reading(stored: _Stored, rules: TodaysRules) -> tuple[Pair, Draft | None]:
    row, pseudo = stored.row, stored.made[UNREADABLE_ROUTE_ID]
    pair = Pair(event_id=row.id, route=UNREADABLE, verdict="unreadable", state=pseudo.state, lane=pseudo.lane)
    if pseudo.state != "parked":
        return replace(pair, verdict="done before"), None
    try:
        draft = rules.read(row, row.payload if row.corrected is None else row.corrected)
    except UsageError as error:
        return replace(pair, detail=str(error)), None
    routes = ", ".join(match.route.name for match in draft.matches) or "no route"
    return replace(pair, verdict="reread", detail=f"it can be read now and goes to {routes}"), draft


def _matches(stored: _Stored, rules: TodaysRules) -> list[RouteMatch]:
    return rules.matches(event_of(stored.row))


def _pairs(stored: _Stored, matches: Sequence[RouteMatch], rules: TodaysRules) -> list[Pair]:
    event_id = stored.row.id
    pairs = []
    for match in matches:
        row = stored.made.get(rules.route_ids[match.route.name])
        verdict: Verdict = "new" if row is None else _verdict_of(row)
        pairs.append(
            Pair(
                event_id=event_id,
                route=match.route.name,
                verdict=verdict,
                state=None if row is None else row.state,
                detail=match.error or "",
                lane=event_of(stored.row).lane,
            )
        )
    gone = [
        row
        for row in stored.made.values()
        if row.route_id != UNREADABLE_ROUTE_ID and not _is_taken(row, matches, rules)
    ]
    return pairs + [
        Pair(event_id=event_id, route=stored.names[row.route_id], verdict="no longer matched", state=row.state)
        for row in gone
    ]


def _asked_for(pairs: Sequence[Pair], routes: Collection[str]) -> list[Pair]:
    return [pair for pair in pairs if not routes or pair.route in routes]


def _verdict_of(row: Row[Any]) -> Verdict:
    if row.state in RUN_AGAIN_STATES:
        return "retried"
    return "under way" if row.state in t.OPEN_STATES else "done before"


def _is_taken(row: Row[Any], matches: Sequence[RouteMatch], rules: TodaysRules) -> bool:
    return row.route_id in {rules.route_ids[match.route.name] for match in matches}


async def _make(conn: AsyncConnection, stored: _Stored, matches: Sequence[RouteMatch], rules: TodaysRules) -> None:
    fresh = [match for match in matches if rules.route_ids[match.route.name] not in stored.made]
    if not fresh:
        return
    await insert_deliveries(conn, [Draft(event_of(stored.row), fresh)], rules.route_ids)
    made = [delivery_id_of(stored.row.seq, rules.route_ids[match.route.name]) for match in fresh]
    await note_late(conn, "delivery", made)
    # Still one delivery for each match, as the counting equation wants it.
    await conn.execute(
        update(t.inbox).where(t.inbox.c.seq == stored.row.seq).values(matches=t.inbox.c.matches + len(fresh))
    )
