"""The dry run: deliveries are run as a worker would, inside a transaction that is rolled back.

Each delivery has a savepoint: one that fails leaves nothing to those after it, the others see what came before, as
they really would. Events that handlers emit are stored and followed, one generation after the other.
Source: docs/explain.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import HandlerSpec
from hub.deliver.batch import BatchRunner, FlushError, argument_of, ending_of, holds, single_failure
from hub.deliver.context import Context, Surroundings
from hub.deliver.drive import drive
from hub.deliver.registry import Rules
from hub.deliver.unit import Owned, UnitOfWork
from hub.deliver.work import Discarded, Done, Refused, Work, fresh_work
from hub.errors import StoreUnavailableError
from hub.event import Event
from hub.explain.model import SETTLED_STATES, Emission, Rehearsal
from hub.explain.stage import CallingTransaction, CallReached, CallsShown, StageStore
from hub.explain.telling import Played, Teller
from hub.flow.pauses import Kind
from hub.ledger import Book
from hub.routing import RouteMatch

DEPTH_MAX: Final = 5
"""How many generations of emitted events are followed."""
DELIVERIES_MAX: Final = 100
"""How many deliveries one rehearsal runs."""
REHEARSAL_S_MAX: Final = 10.0
"""How long the rehearsal may hold its transaction; on SQLite it is the one that writes."""
HANDLER_S_MAX: Final = 3.0
"""How long one handler may run in a rehearsal."""


@dataclass(frozen=True, slots=True)
class Part:
    """A delivery to be rehearsed. ``recorded`` is the state of the one that exists, ``note`` what to say beside it."""

    work: Work
    recorded: str | None = None
    note: str = ""


@dataclass(slots=True)
class _Turn:
    part: Part
    into: list[Rehearsal]
    depth: int


def parts_of(event: Event, matches: Iterable[RouteMatch], rules: Rules) -> list[Part]:
    """The deliveries that this event would make, in the order in which a worker picks them."""
    works = [fresh_work(event, rules.route_ids[match.route.name], unsure=match.error is not None) for match in matches]
    return [Part(work) for work in sorted(works, key=lambda work: work.id)]


class Rehearser:
    """Rehearses deliveries on one connection, whose transaction the caller rolls back."""

    def __init__(self, conn: AsyncConnection, around: Surroundings, rules: Rules) -> None:
        self._conn = conn
        self._store = StageStore(conn)
        self._around = replace(around, store=self._store)
        self._rules = _in_haste(rules)
        self._teller = Teller(around.clock, rules)
        self._ends_at = asyncio.get_running_loop().time() + REHEARSAL_S_MAX - HANDLER_S_MAX
        self._count = 0

    def book_for(self, work: Work) -> Callable[..., Book]:
        """What the books of this delivery are opened by."""
        return Book

    async def play(self, parts: Sequence[Part]) -> list[Rehearsal]:
        """Rehearse these deliveries in order, then those of the events that they emit, and so on."""
        await self._around.flow.look(self._conn)
        first: list[Rehearsal] = []
        turns = deque(_Turn(part, first, 0) for part in parts)
        while turns:
            turn = turns.popleft()
            rehearsal = await self._rehearse(turn.part)
            turn.into.append(rehearsal)
            for emission in rehearsal.emitted:
                turns.extend(self._turns_after(emission, turn.depth + 1))
        return first

    def _turns_after(self, emission: Emission, depth: int) -> list[_Turn]:
        if emission.status != "event":
            return []
        matches = self._around.drafter().router.route(emission.event)
        if not matches:
            emission.note = "no route takes it"
        elif depth > DEPTH_MAX:
            emission.note = f"not followed: more than {DEPTH_MAX} generations of events"
            return []
        return [_Turn(part, emission.rehearsals, depth) for part in parts_of(emission.event, matches, self._rules)]

    async def _rehearse(self, part: Part) -> Rehearsal:
        rehearsal = self._announced(part)
        self._count += 1
        if self._count > DELIVERIES_MAX:
            rehearsal.notes.append(f"not rehearsed: more than {DELIVERIES_MAX} deliveries")
        elif asyncio.get_running_loop().time() > self._ends_at:
            rehearsal.notes.append(f"not rehearsed: the rehearsal may hold its transaction for {REHEARSAL_S_MAX:g} s")
        else:
            self._teller.tell(rehearsal, part.work, await self._played(part.work))
        return rehearsal

    def _announced(self, part: Part) -> Rehearsal:
        route = self._rules.routes_by_id[part.work.route_id]
        spec = self._rules.handler_of(part.work.route_id)
        return Rehearsal(
            route=route.name,
            handler=route.handle,
            kind="forward" if spec is None else spec.kind,
            provider=spec.provider if spec is not None else None,
            recorded=part.recorded,
            play="not_rehearsed",
            notes=[*([part.note] if part.note else []), *self._standing_still(part, spec)],
        )

    def _standing_still(self, part: Part, spec: HandlerSpec | None) -> Iterator[str]:
        """Why the delivery, or what it publishes, would wait."""
        if part.recorded in SETTLED_STATES:
            return
        flow, route = self._around.flow, self._rules.routes_by_id[part.work.route_id]
        concerned: list[tuple[Kind, str]] = [("route", route.name)]
        concerned += [("provider", spec.provider)] if spec is not None and spec.provider is not None else []
        concerned += [("destination", name) for name in route.publish]
        for kind, name in concerned:
            if (pause := flow.pause_of(kind, name)) is not None:
                yield str(pause)

    async def _played(self, work: Work) -> Played:
        spec = self._rules.handler_of(work.route_id)
        savepoint = await self._conn.begin_nested()
        played = await (self._call(work, spec) if spec is not None and spec.kind == "calls" else self._run(work))
        if isinstance(played.ending, Done | Refused):
            await savepoint.commit()
        elif savepoint.is_active:
            # What the database refused has ended it already.
            await savepoint.rollback()
        return played

    async def _run(self, work: Work) -> Played:
        """A forward or a database handler: by the code that delivers it."""
        started_at = self._around.clock.now()
        try:
            runner = BatchRunner(self._around, open_book=self.book_for(work))
            result = await runner.run(self._conn, [work], self._rules)
        except FlushError as error:
            failure = single_failure(work, error, started_at)
            return Played(failure.ending, error=error.cause)
        (attempt,) = result.attempts
        effects = result.kept[0].effects if result.kept else None
        return Played(
            attempt.ending,
            effects,
            result.entries,
            result.stored,
            error=result.raised.get(work.id),
        )

    async def _call(self, work: Work, spec: HandlerSpec) -> Played:
        """A calling handler: up to its first call whose outcome is not known, to its end when there is none."""
        started_at = self._around.clock.now()
        route = self._rules.routes_by_id[work.route_id]
        calls = CallsShown(self._store, self._around.clock)
        unit = UnitOfWork(self._conn, self._rules.route_ids, started_at, open_book=self.book_for(work))
        transaction = CallingTransaction(unit)
        context = Context(
            work.event, route, work.id, self._around, transaction, recorder=calls, provider=spec.provider or ""
        )
        try:
            if work.unsure and not holds(route, work.event):
                return Played(Discarded("condition false"))
            await drive(spec.function(argument_of(spec.model, work.event), context), spec.timeout_s)
            await transaction.keep()
            entries = list(unit.book.pending)
            stored = await unit.flush([Owned(work.id, work.event.id, context.effects)])
        except CallReached:
            await transaction.drop()
            return Played(None, calls=calls.shown)
        except StoreUnavailableError:
            raise
        except Exception as error:
            await transaction.drop()
            return Played(ending_of(error), calls=calls.shown, error=error)
        finally:
            transaction.close()
        return Played(context.effects.ending, context.effects, entries, stored, calls.shown)


def _in_haste(rules: Rules) -> Rules:
    """The same rules with less patience: a rehearsal may not hold the database for as long as a delivery may."""
    handlers = {
        name: replace(spec, timeout_s=min(spec.timeout_s, HANDLER_S_MAX)) for name, spec in rules.handlers.items()
    }
    return replace(rules, handlers=handlers)
