"""One step of calling a provider: recorded, sent, recorded again; and what a later attempt makes of it.

    no row               record it as started, commit, send
    settled, declined    the stored outcome; nothing is sent
    started, pending,    ask ``lookup``; only its *not found* lets the step be sent again, as the next number under the
    unknown              same key (or the key that the handler makes for that number), and only once the request that it
                         did not find cannot be under way any more

What was answered is written with the end of the delivery, or before its next step is sent; a step without a ``lookup``
has nobody to ask, so that its answer is written at once. A step that only reads is on record once it is answered.
Source: docs/guarantees.md, "No outcome is guessed"; docs/decisions/0007-unknown-outcomes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import structlog
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Insert, Update, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub import tracing
from hub.calls.outcome import STATE_OF, LookupOutcome, NotFound, Outcome, Unknown, from_stored, stored_form
from hub.clock import Clock
from hub.errors import BusyError, PermanentError, RetryableError, StoreUnavailableError
from hub.event import Event, route_id_of, stable_hash
from hub.flow.priority import Priority
from hub.flow.provider import Ahead, Provider
from hub.flow.turn import Turn
from hub.routing import sameness_hash
from hub.store import tables as t
from hub.store.store import Fence, FencedError, Store
from hub.store.upserts import insert_for

CALL_S_MAX = 30.0
"""How long one call may take; then its outcome is unknown."""
UNDER_WAY_S = 10.0
"""How much longer than that a request may still be under way: given up here, in somebody's buffer, not yet there."""
AHEAD_S_MAX = 1.0
"""So long before it is sent a step may have been put on record; of one that waited longer the time is written anew."""
STOPPED_S_MAX = UNDER_WAY_S / 2
"""A process that takes so long from the record to the sending stood still: others may have asked about it meanwhile."""
REWRITES_MAX = 2
"""How often the record of a step is written anew in vain; then its delivery is put off."""

Send: TypeAlias = Callable[..., Awaitable[Outcome]]
Lookup: TypeAlias = Callable[..., Awaitable[LookupOutcome]]
Key: TypeAlias = str | Callable[[int], str] | None

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one delivery: what is asked of a provider, and how."""

    delivery_id: int
    event: Event
    provider: str
    name: str
    send: Send
    request: Any
    key: Key
    lookup: Lookup | None
    timeout_s: float
    priority: Priority = Priority.MONEY
    is_read: bool = False
    """It moves nothing and may be repeated at will."""

    def key_of(self, number: int) -> str:
        """The idempotency key of the n-th time that this step is sent."""
        if callable(self.key):
            return self.key(number)
        # A route is meant by its number, which a rename does not change.
        route = str(route_id_of(self.delivery_id))
        return self.key or stable_hash("call", str(self.event.id), route, self.name).hex()

    @property
    def request_hash(self) -> bytes:
        return sameness_hash(_plain(self.request), None)


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What the record does not say yet."""

    step: Step
    number: int
    outcome: LookupOutcome
    lookups: int
    started_at: datetime | None
    """Where there is no row of it."""
    settled_at: datetime
    began: tuple[datetime, ...] = ()
    """Said of a row with one of these times alone: it may not be there, and another's be in its place."""


class CallRecorder:
    """Runs the steps of one attempt so that each is on record before it leaves and asked about before it leaves again.

    With ``provider``, every call waits for its turn there. ``is_first``: the delivery has never run, so that none of
    its steps should be on record. Whoever ends the attempt writes what is left: ``write`` and ``wrote``, or ``settle``.
    """

    def __init__(
        self,
        store: Store,
        fence: Fence | None,
        clock: Clock,
        provider: Provider | None = None,
        *,
        is_first: bool = False,
    ) -> None:
        self._store = store
        self._fence = fence
        self._clock = clock
        self._provider = provider
        self._is_first = is_first
        self._names: set[str] = set()
        self._answered: list[Answered] = []

    async def run(self, step: Step) -> Outcome:
        """The outcome of this step, from the record, from a lookup or from the provider.

        Raises PermanentError when the step is undecided and there is no lookup, or when the request is not the one on
        record; RetryableError when the provider said that it did nothing and wants to be asked again.
        """
        if any(one.step.name == step.name for one in self._answered) or step.is_read:
            # What the last one was answered is known, whatever happens during this one.
            await self.settle()
        is_new = self._is_first and step.name not in self._names
        self._names.add(step.name)
        if is_new:
            outcome = await self._send(step, 1)
            if outcome is not None:
                return outcome
        row = await self._latest(step)
        if row is None:
            return await self._sent(step, 1)
        if row.request_hash != step.request_hash:
            raise PermanentError(f"step {step.name!r} is on record with another request: give the new one a new name")
        if row.state in ("settled", "declined"):
            return from_stored(row.state, row.outcome)
        if row.state == "not_found":
            return await self._sent(step, row.number + 1)
        if step.lookup is None:
            raise PermanentError(
                f"the outcome of step {step.name!r} is unknown and there is no way to ask: for a person"
            )
        return await self._ask(step, step.lookup, row.number, row.started_at)

    async def pause_provider(self, for_s: float, *, by: str, reason: str) -> None:
        """Let nobody call this provider for a time. Raises StoreUnavailableError."""
        if self._provider is not None:
            await self._provider.pause(for_s, by=by, reason=reason)

    @property
    def has_answers(self) -> bool:
        """Whether something was answered that is not written."""
        return bool(self._answered)

    async def settle(self) -> None:
        """Write what was answered, in a transaction of its own. Raises StoreUnavailableError, FencedError."""
        if self._answered:
            self.wrote(await self._store.write(self.write, fence=self._fence))

    async def write(self, conn: AsyncConnection) -> Sequence[Answered]:
        """Write what was answered, in the caller's transaction; ``wrote`` is told of it once it is committed."""
        # Meanwhile another call of the handler may be answered: that is for the next one to write.
        now = tuple(self._answered)
        for one in now:
            await conn.execute(_new_row(one, conn) if one.started_at is not None else _known_row(one))
        return now

    def wrote(self, written: Sequence[Answered]) -> None:
        """These are committed."""
        self._answered = [one for one in self._answered if one not in written]

    async def _ask(self, step: Step, lookup: Lookup, number: int, started_at: datetime) -> Outcome:
        async with self._turn(step) as turn:
            found: LookupOutcome = await _reached(lookup, step, number, turn)
        if isinstance(found, NotFound) and not found.may_repeat:
            self._refuse_early(step, started_at)
        await self._answer(step, number, found, lookups=1)
        if isinstance(found, NotFound):
            return await self._sent(step, number + 1)
        return found

    def _refuse_early(self, step: Step, started_at: datetime) -> None:
        """Raise BusyError while the request may still reach the provider after it has said *not found*."""
        under_way_s = (started_at - self._clock.now()).total_seconds() + step.timeout_s + UNDER_WAY_S
        if under_way_s > 0:
            message = f"step {step.name!r} is not found there, but may still be under way"
            raise BusyError(message, delay_s=under_way_s)

    async def _sent(self, step: Step, number: int) -> Outcome:
        outcome = await self._send(step, number)
        if outcome is None:
            # Whoever else ran this delivery is fenced off by now, or this one is.
            raise RetryableError(f"step {step.name!r} has just been put on record by another attempt")
        return outcome

    async def _send(self, step: Step, number: int) -> Outcome | None:
        """Put the step on record and send it. None where it is on record already: then nothing is sent."""
        if step.is_read:
            return await self._look(step, number)
        sending = Sending(self, step, number)
        # What is certain of it, whatever goes wrong: nothing has happened until it leaves.
        known: LookupOutcome | None = NotFound()
        try:
            # While others have all the places, it is put on record; the place is for the call alone.
            async with self._turn(step, sending.begin) as turn:
                if not await sending.is_ready():
                    return None
                known = None
                try:
                    outcome: LookupOutcome = await _reached(step.send, step, number, turn)
                except RetryableError:
                    # The provider itself said that nothing happened: it may be sent again without asking.
                    known = NotFound()
                    raise
                assert not isinstance(outcome, NotFound), "not found is an answer of a lookup only"
                known = outcome
        except BaseException:
            if known is not None and sending.times:
                # Where it cannot be written now, the end of the attempt writes it; what has gone wrong is told.
                with suppress(StoreUnavailableError, FencedError):
                    await self._answer(step, number, known, lookups=0, began=sending.times)
            raise
        # The next one may call while this is written.
        await self._answer(step, number, outcome, lookups=0)
        return outcome

    async def _look(self, step: Step, number: int) -> Outcome:
        async with self._turn(step) as turn:
            started_at = self._clock.now()
            outcome: LookupOutcome = await _reached(step.send, step, number, turn)
        assert not isinstance(outcome, NotFound), "not found is an answer of a lookup only"
        await self._answer(step, number, outcome, lookups=0, started_at=started_at)
        return outcome

    def _turn(self, step: Step, ahead: Ahead | None = None) -> AbstractAsyncContextManager[Turn]:
        return nullcontext(Turn()) if self._provider is None else self._provider.turn(step.priority, ahead=ahead)

    async def _latest(self, step: Step) -> Any:
        query = (
            select(t.calls)
            .where(t.calls.c.delivery_id == step.delivery_id, t.calls.c.step == step.name)
            .order_by(t.calls.c.number.desc())
            .limit(1)
        )
        async with self._store.reading() as conn:
            return (await conn.execute(query)).first()

    async def begin(self, sending: Sending) -> None:
        """Commit that this step is about to be sent, where it is not on record already."""
        step, number, now = sending.step, sending.number, self._clock.now()

        async def work(conn: AsyncConnection) -> Sequence[Answered]:
            written = await self.write(conn)
            new = insert_for(conn.dialect.name, t.calls).values(_row(step, number, state="started", started_at=now))
            is_new = (await conn.execute(new.on_conflict_do_nothing())).rowcount == 1
            # Before the commit: who is cut off there does not hear whether it has happened.
            sending.times = (now,) if is_new else ()
            return written

        self.wrote(await self._store.write(work, fence=self._fence))

    async def begin_later(self, sending: Sending) -> None:
        """It is on record, and leaves only now."""
        now = self._clock.now()
        later = update(t.calls).where(_is_row(sending.step, sending.number)).values(started_at=now)

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(later)

        sending.times = (*sending.times, now)
        await self._store.write(work, fence=self._fence)

    def is_late(self, begun_at: datetime, after_s: float = AHEAD_S_MAX) -> bool:
        """Whether a step that was put on record then has waited for long."""
        return (self._clock.now() - begun_at).total_seconds() > after_s

    async def _answer(
        self,
        step: Step,
        number: int,
        outcome: LookupOutcome,
        *,
        lookups: int,
        started_at: datetime | None = None,
        began: tuple[datetime, ...] = (),
    ) -> None:
        self._answered.append(Answered(step, number, outcome, lookups, started_at, self._clock.now(), began))
        if step.lookup is None and not step.is_read:
            await self.settle()


class Sending:
    """One step on its way: once on record, and in time."""

    def __init__(self, recorder: CallRecorder, step: Step, number: int) -> None:
        self._recorder = recorder
        self._is_begun = False
        self.step = step
        self.number = number
        self.times: tuple[datetime, ...] = ()
        """Its own row, if there is one, began at one of these; none where somebody else's is on record."""

    async def begin(self) -> None:
        """Put it on record."""
        await self._recorder.begin(self)
        self._is_begun = True

    async def is_ready(self) -> bool:
        """See that it is on record. False where somebody else's is."""
        if not self._is_begun:
            await self.begin()
        elif self.times and self._recorder.is_late(self.times[-1]):
            await self._recorder.begin_later(self)
        # Stopped while it waited for the commit, its lanes are another's, who was told *not found* and sends it: then
        # nothing can be written any more, and nothing leaves.
        rounds = 0
        while self.times and self._recorder.is_late(self.times[-1], STOPPED_S_MAX):
            if rounds == REWRITES_MAX:
                raise BusyError(f"the database is too slow to send step {self.step.name!r}", delay_s=STOPPED_S_MAX)
            await self._recorder.begin_later(self)
            rounds += 1
        return bool(self.times)


def _row(step: Step, number: int, **more: Any) -> dict[str, Any]:
    return {
        "delivery_id": step.delivery_id,
        "step": step.name,
        "number": number,
        "provider": step.provider,
        "key": step.key_of(number),
        "request_hash": step.request_hash,
        "lookups": 0,
        **more,
    }


def _is_row(step: Step, number: int) -> ColumnElement[bool]:
    return (t.calls.c.delivery_id == step.delivery_id) & (t.calls.c.step == step.name) & (t.calls.c.number == number)


def _said(one: Answered) -> dict[str, Any]:
    return {"state": STATE_OF[type(one.outcome)], "outcome": stored_form(one.outcome), "settled_at": one.settled_at}


def _known_row(one: Answered) -> Update:
    lookups = t.calls.c.lookups + one.lookups
    its = _is_row(one.step, one.number)
    if one.began:
        its &= t.calls.c.started_at.in_(one.began)
    return update(t.calls).where(its).values(lookups=lookups, **_said(one))


def _new_row(one: Answered, conn: AsyncConnection) -> Insert:
    # Never over another one: what is decided stays as it is.
    row = _row(one.step, one.number, started_at=one.started_at, **_said(one))
    return insert_for(conn.dialect.name, t.calls).values(row).on_conflict_do_nothing()


async def _reached(function: Callable[..., Awaitable[Any]], step: Step, number: int, turn: Turn) -> Any:
    """Run a call, and let its turn know how it ended."""
    try:
        with turn.taken():
            ending = await _guarded(function, step, number)
    except RetryableError as error:
        turn.saw(error)
        raise
    turn.saw(ending)
    return ending


async def _guarded(function: Callable[..., Awaitable[Any]], step: Step, number: int) -> Any:
    """Run a call; silence, a lost connection and an unexpected error all mean that we do not know."""
    try:
        with tracing.calling(step.provider, step.name, step.event.traceparent):
            async with asyncio.timeout(step.timeout_s):
                return await function(step.request, step.key_of(number))
    except RetryableError:
        raise
    except TimeoutError:
        return Unknown(f"no answer within {step.timeout_s:g} s")
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling() > 0:
            raise
        # Raised by a library although nobody cancelled, as some do when a connection is lost.
        return Unknown("cut off during the call")
    except Exception as error:
        log.warning("call_failed", error=type(error).__name__)
        return Unknown(f"{type(error).__name__} during the call")


def _plain(request: Any) -> Any:
    if isinstance(request, BaseModel):
        return request.model_dump(mode="json")
    if isinstance(request, Mapping):
        return dict(request)
    return request
