"""Explains one event: a message given by hand, or one that the hub has stored. Nothing is printed, nothing remains.

Source: docs/explain.md.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.deliver.context import Surroundings
from hub.deliver.registry import Rules
from hub.deliver.work import Work, event_of, fresh_work
from hub.errors import RetryableError
from hub.event import Event
from hub.explain.curtain import Curtain
from hub.explain.explanation import Explanation
from hub.explain.identity import BY_HAND, identity_of_draft, problem_of_text, taken_from_of, verification_of
from hub.explain.model import SETTLED_STATES, Identity, Rehearsal
from hub.explain.rehearse import REHEARSAL_S_MAX, Part, Rehearser, parts_of
from hub.inbox.draft import Draft
from hub.inbox.received import Received
from hub.inbox.rows import store_drafts
from hub.operate.event_details import show_event
from hub.operate.lookup import deliveries_of
from hub.operate.masking import mask_of
from hub.operate.reading import load_event
from hub.routing import RuleVerdict
from hub.store.store import Store
from hub.store.store import Work as StoreWork
from hub.wiring import Wiring

T = TypeVar("T")

NOTES: Final = {
    "done": "this delivery is done and will not run again; shown is what running it now would do",
    "refused": "this delivery was refused and runs again only by a replay; shown is what running it now would do",
    "discarded": "this delivery was discarded and will not run again; shown is what running it now would do",
    "parked": "parked: shown is what a retry now would do",
    "retrying": "backing off: shown is what its next attempt would do now",
    "deferred": "waits outside its chain: shown is what its next attempt would do now",
    "waiting": "waits behind another event: shown is what it would do if it were its turn now",
    "calling": "its handler is calling a provider at this moment, or the process that did has died",
}
NO_DELIVERY: Final = "today's rules take the event and it has no delivery: it came under other rules"
NO_MATCH: Final = "today's rules do not take the event: its delivery was made under other rules"


class ExplainParts(Protocol):
    """What explaining needs of a hub; ``hub.app.Hub`` has it."""

    @property
    def around(self) -> Surroundings: ...

    @property
    def rules(self) -> Rules: ...

    @property
    def wiring(self) -> Wiring: ...

    @property
    def store(self) -> Store: ...

    @property
    def clock(self) -> Clock: ...


async def explain_message(parts: ExplainParts, received: Received) -> Explanation:
    """What the hub would do with this message if it came now.

    Raises UsageError for a source that is not declared, StoreUnavailableError, RetryableError when the dry run does
    not end in time.
    """
    draft = parts.wiring.drafter.draft(received)
    event, config = draft.event, parts.wiring.config.sources.get(draft.event.source)

    async def work(conn: AsyncConnection) -> tuple[Identity, list[Rehearsal]]:
        identity = await identity_of_draft(conn, draft, config)
        if draft.problem or identity.event_id is not None:
            return identity, []
        return identity, await _rehearse_new(conn, parts, draft)

    identity, rehearsals = await _rehearsed(parts.store, work)
    return Explanation(
        event=event,
        payload_bytes=len(event.payload),
        sha256=hashlib.sha256(event.payload).hexdigest(),
        verification=BY_HAND,
        identity=identity,
        problem=problem_of_text(draft.problem),
        rules=_rules(parts, event, draft.problem),
        rehearsals=rehearsals,
        recorded=None,
        curtain=_curtain(parts, event),
    )


async def explain_event(parts: ExplainParts, event_id: UUID | str, *, rehearse: bool = True) -> Explanation:
    """What became of a stored event, and what today's rules make of it; without ``rehearse`` no handler is run.

    ``event_id`` may be the beginning of an id, as text. Raises UsageError when there is no such event, and what
    ``explain_message`` raises.
    """
    recorded = await show_event(parts.store, str(event_id), parts.wiring.config.sources)
    async with parts.store.reading() as conn:
        stored = await load_event(conn, recorded.id)
        deliveries = await deliveries_of(conn, recorded.id)
    event, config = event_of(stored), parts.wiring.config.sources.get(recorded.source)
    problem = recorded.problem or ""
    to_play = [] if problem or not rehearse else _parts_of_stored(parts, event, deliveries)

    async def work(conn: AsyncConnection) -> list[Rehearsal]:
        return await Rehearser(conn, parts.around, parts.rules).play(to_play)

    rehearsals = await _rehearsed(parts.store, work) if to_play else []
    return Explanation(
        event=event,
        payload_bytes=recorded.content.payload_bytes,
        sha256=recorded.content.sha256,
        verification=verification_of(event, config),
        identity=Identity("stored", event.dedupe_id, taken_from_of(event, config), event.id),
        problem=problem_of_text(problem),
        rules=_rules(parts, event, problem),
        rehearsals=rehearsals,
        recorded=recorded,
        curtain=_curtain(parts, event),
    )


async def _rehearsed(store: Store, work: StoreWork[T]) -> T:
    async def within_time(conn: AsyncConnection) -> T:
        try:
            async with asyncio.timeout(REHEARSAL_S_MAX):
                return await work(conn)
        except TimeoutError as error:
            raise RetryableError(f"the rehearsal took more than {REHEARSAL_S_MAX:g} s and was rolled back") from error

    return await store.rehearse(within_time)


async def _rehearse_new(conn: AsyncConnection, parts: ExplainParts, draft: Draft) -> list[Rehearsal]:
    """Store the event, so that handlers which look for it find it, and play its deliveries."""
    rules = parts.rules
    [(_, event)] = await store_drafts(conn, [draft], route_ids=rules.route_ids, now=parts.clock.now())
    return await Rehearser(conn, parts.around, rules).play(parts_of(event, draft.matches, rules))


def _parts_of_stored(parts: ExplainParts, event: Event, deliveries: Sequence[Row[Any]]) -> list[Part]:
    """A delivery for each route that takes the event today, and each open one of a route that does not any more."""
    rules, rows = parts.rules, {row.route_id: row for row in deliveries}
    played: dict[int, Part] = {}
    for match in parts.wiring.router.route(event):
        route_id = rules.route_ids[match.route.name]
        work = fresh_work(event, route_id, unsure=match.error is not None)
        row = rows.get(route_id)
        if row is None:
            played[route_id] = Part(work, None, NO_DELIVERY)
        else:
            played[route_id] = Part(_as_recorded(work, row.attempts, row.unsure), row.state, NOTES.get(row.state, ""))
    for route_id, row in rows.items():
        is_open = row.state not in SETTLED_STATES and route_id in rules.routes_by_id
        if is_open and route_id not in played:
            work = fresh_work(event, route_id, unsure=row.unsure)
            played[route_id] = Part(_as_recorded(work, row.attempts, row.unsure), row.state, NO_MATCH)
    return [played[route_id] for route_id in sorted(played)]


def _as_recorded(work: Work, attempts: int, is_unsure: bool) -> Work:
    return replace(work, attempts=attempts, unsure=work.unsure or is_unsure)


def _rules(parts: ExplainParts, event: Event, problem: str) -> Sequence[RuleVerdict]:
    # What cannot be read has no type to be matched by.
    return [] if problem else parts.wiring.router.explain(event)


def _curtain(parts: ExplainParts, event: Event) -> Curtain:
    sources = parts.wiring.config.sources
    config = sources.get(event.source)
    return Curtain(mask_of(event.source, sources), config.mask if config is not None else (), event)
