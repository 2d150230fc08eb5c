"""Replays seen before they are done: any number of events, each in a transaction that is rolled back, and counted up.

Pairs that would run are rehearsed; pairs that are done are compared with what today's code would do in their place.
Source: docs/replay.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.deliver.work import event_of, fresh_work
from hub.errors import RetryableError, UsageError
from hub.explain.comparing import CORRECTS, Comparer, Comparison, Difference, EntryChange, recorded_of
from hub.explain.explainer import ExplainParts
from hub.explain.model import Rehearsal
from hub.explain.rehearse import REHEARSAL_S_MAX, Part
from hub.ledger import Book
from hub.ledger.errors import AlreadyReversedError, LedgerError
from hub.ledger.history import CORRECTION, correction_reference, lock_entry
from hub.operate.acting import record, take_turn
from hub.operate.events import EventFilter, list_events
from hub.operate.lookup import deliveries_of
from hub.operate.parked import RUN_AGAIN_STATES
from hub.operate.reading import load_event
from hub.store.store import Store

PAGE: Final = 200
SHOWN_MAX: Final = 500
"""How many differing pairs are listed; the others are counted."""


@dataclass(frozen=True, slots=True)
class Preview:
    """One pair of event and route: what a replay would do (``verdict``), and how it would differ from the past."""

    event_id: UUID
    route: str
    verdict: str
    ending: str
    entries: int
    messages: int
    calls: int
    differences: Sequence[Difference]
    changes: Sequence[EntryChange]


@dataclass(slots=True)
class PreviewSummary:
    """Many previews, counted: by route and verdict, and by what differs. ``shown`` are the first that matter."""

    events: int = 0
    failed: int = 0
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    effects: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By route: entries, messages and calls that pairs which would run lead to."""
    differing: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    shown: list[Preview] = field(default_factory=list)
    not_shown: int = 0

    def add(self, one: Preview) -> None:
        self.pairs[one.route, one.verdict] += 1
        for difference in one.differences:
            self.differing[one.route, difference.sort, difference.what] += 1
        if one.verdict in ("new", "retried"):
            self.effects.update({(one.route, "entries"): one.entries, (one.route, "messages"): one.messages})
            self.effects[one.route, "calls"] += one.calls
            self.failed += one.ending == "failed"
        if one.differences or one.verdict in ("new", "retried"):
            if len(self.shown) < SHOWN_MAX:
                self.shown.append(one)
            else:
                self.not_shown += 1


@dataclass(frozen=True, slots=True)
class Corrector:
    """Who has the difference posted, and why."""

    actor: str
    reason: str


@dataclass(slots=True)
class Rehearsed:
    """What was seen, the references of the corrections, and the events that the books refused to correct, with why."""

    summary: PreviewSummary = field(default_factory=PreviewSummary)
    corrected: list[str] = field(default_factory=list)
    refused: list[tuple[UUID, str]] = field(default_factory=list)


async def rehearse(
    parts: ExplainParts,
    clock: Clock,
    events: AsyncIterator[UUID],
    *,
    routes: Collection[str] = (),
    corrector: Corrector | None = None,
) -> Rehearsed:
    """See what today's code would do with these events; for ``corrector`` the difference is posted, event by event.

    Raises RetryableError when a rehearsal does not end in time: what was corrected until then stays corrected.
    """
    done = Rehearsed()
    async for event_id in events:
        done.summary.events += 1
        changes: list[EntryChange] = []
        for one in await preview(parts, event_id, routes=routes):
            done.summary.add(one)
            changes += one.changes
        if corrector is None or not changes:
            continue
        try:
            done.corrected += await correct(parts.store, clock, changes, actor=corrector.actor, reason=corrector.reason)
        except LedgerError as error:
            # Of this event nothing was posted; the others are no worse for it.
            done.refused.append((event_id, str(error)))
    return done


async def chosen(store: Store, wanted: EventFilter, *, limit: int) -> AsyncIterator[UUID]:
    """The events that meet the filter, newest first, at most ``limit``; read page by page."""
    before: int | None = None
    left = limit
    while left > 0:
        page = await list_events(store, wanted, before=before, limit=min(PAGE, left))
        for one in page.events:
            yield one.id
        left -= len(page.events)
        before = page.before
        if before is None:
            return


async def preview(parts: ExplainParts, event_id: UUID, *, routes: Collection[str] = ()) -> list[Preview]:
    """What a replay of this event would do on these routes (all of them without any), and what it would do otherwise.

    Raises RetryableError when the rehearsal does not end in time.
    """

    async def work(conn: AsyncConnection) -> list[Preview]:
        try:
            async with asyncio.timeout(REHEARSAL_S_MAX):
                return await _preview(conn, parts, event_id, routes)
        except TimeoutError as error:
            raise RetryableError(f"the rehearsal of event {event_id} took too long and was rolled back") from error

    return await parts.store.rehearse(work)


async def _preview(
    conn: AsyncConnection, parts: ExplainParts, event_id: UUID, routes: Collection[str]
) -> list[Preview]:
    stored = await load_event(conn, event_id)
    if stored.problem is not None:
        return []
    event, rows = event_of(stored), {row.route_id: row for row in await deliveries_of(conn, event_id)}
    to_play: list[Part] = []
    verdicts: list[str] = []
    finished: list[Row[Any]] = []
    for match in parts.wiring.router.route(event):
        route_id = parts.rules.route_ids[match.route.name]
        row = rows.get(route_id)
        if routes and match.route.name not in routes:
            continue
        verdict = _verdict(row)
        if verdict == "under way":
            continue
        if row is not None and verdict == "done before":
            finished.append(row)
        to_play.append(
            Part(fresh_work(event, route_id, unsure=match.error is not None), row.state if row is not None else None)
        )
        verdicts.append(verdict)
    recorded = await recorded_of(conn, event_id, finished)
    rehearsals, compared = await Comparer(conn, parts.around, parts.rules, recorded).compare(to_play)
    by_delivery = {one.delivery_id: one for one in compared}
    return [
        _shown(event_id, verdict, rehearsal, by_delivery.get(part.work.id))
        for part, verdict, rehearsal in zip(to_play, verdicts, rehearsals, strict=True)
    ]


def _verdict(row: Row[Any] | None) -> str:
    if row is None:
        return "new"
    if row.state in RUN_AGAIN_STATES:
        return "retried"
    # What a person gave up is not held against what today's code would do.
    return "done before" if row.state == "done" else "under way"


def _shown(event_id: UUID, verdict: str, rehearsal: Rehearsal, compared: Comparison | None) -> Preview:
    return Preview(
        event_id,
        rehearsal.route,
        verdict,
        rehearsal.play,
        len(rehearsal.entries),
        len(rehearsal.messages),
        sum(not call.what.startswith("on record") for call in rehearsal.calls),
        tuple(compared.differences) if compared is not None else (),
        tuple(compared.changes) if compared is not None else (),
    )


async def correct(store: Store, clock: Clock, changes: Sequence[EntryChange], *, actor: str, reason: str) -> list[str]:
    """Post the difference between what is booked and what today's code would book; answers the new references.

    The old entries stay. Raises UsageError without a reason, LedgerError where an account does not have the money,
    an entry was reversed, or somebody else has corrected the same entry meanwhile: then nothing was posted.
    """
    if not reason.strip():
        raise UsageError("expected a reason, found none: it is kept for those who ask later")

    async def work(conn: AsyncConnection) -> list[str]:
        await take_turn(conn)
        for one in sorted(changes, key=lambda change: change.entry_id):
            # Nothing of it stands any more: the difference would move money that nobody booked.
            if (await lock_entry(conn, one.entry_id)).count:
                raise AlreadyReversedError(one.reference)
        book = Book(conn, now=clock.now())
        made = []
        for one in changes:
            reference = correction_reference(one.entry_id, one.corrections + 1)
            await book.post(
                reference=reference,
                kind=CORRECTION,
                moves=one.moves,
                event_id=one.event_id,
                delivery_id=one.delivery_id,
                note=f"corrects {one.reference}: {reason}"[:500],
                data={CORRECTS: one.reference, "entry": one.entry_id},
            )
            made.append(reference)
            await record(
                conn,
                clock,
                actor=actor,
                action="event.correct",
                target=one.event_id,
                reason=f"{one.reference}: {reason}",
            )
        await book.flush()
        return made

    return await store.write(work)
