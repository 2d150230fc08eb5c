"""One step of calling a provider: recorded, sent, recorded again; and what a later attempt makes of it.

    no row               record it as started, commit, send
    settled, declined    the stored outcome; nothing is sent
    started, pending,    ask ``lookup``; only its *not found* lets the step be sent again, as the next number under the
    unknown              same key (or the key that the handler makes for that number), and only once the request that it
                         did not find cannot be under way any more

Source: docs/guarantees.md, "No outcome is guessed".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import structlog
from pydantic import BaseModel
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub import tracing
from hub.calls.outcome import STATE_OF, LookupOutcome, NotFound, Outcome, Unknown, from_stored, stored_form
from hub.clock import Clock
from hub.errors import BusyError, PermanentError, RetryableError
from hub.event import Event, route_id_of, stable_hash
from hub.flow.priority import Priority
from hub.flow.provider import Provider, Turn
from hub.routing import sameness_hash
from hub.store import tables as t
from hub.store.store import Fence, Store

CALL_S_MAX = 30.0
"""How long one call may take; then its outcome is unknown."""
UNDER_WAY_S = 10.0
"""How much longer than that a request may still be under way: given up here, in somebody's buffer, not yet there."""

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


class CallRecorder:
    """Runs steps so that each is on record before it leaves and asked about before it leaves again.

    With ``provider``, every call waits for its turn there.
    """

    def __init__(self, store: Store, fence: Fence | None, clock: Clock, provider: Provider | None = None) -> None:
        self._store = store
        self._fence = fence
        self._clock = clock
        self._provider = provider

    async def run(self, step: Step) -> Outcome:
        """The outcome of this step, from the record, from a lookup or from the provider.

        Raises PermanentError when the step is undecided and there is no lookup, or when the request is not the one on
        record; RetryableError when the provider said that it did nothing and wants to be asked again.
        """
        row = await self._latest(step)
        if row is None:
            return await self._send(step, 1)
        if row.request_hash != step.request_hash:
            raise PermanentError(f"step {step.name!r} is on record with another request: give the new one a new name")
        if row.state in ("settled", "declined"):
            return from_stored(row.state, row.outcome)
        if row.state == "not_found":
            return await self._send(step, row.number + 1)
        if step.lookup is None:
            raise PermanentError(
                f"the outcome of step {step.name!r} is unknown and there is no way to ask: for a person"
            )
        return await self._ask(step, step.lookup, row.number, row.started_at)

    async def pause_provider(self, for_s: float, *, by: str, reason: str) -> None:
        """Let nobody call this provider for a time. Raises StoreUnavailableError."""
        if self._provider is not None:
            await self._provider.pause(for_s, by=by, reason=reason)

    async def _ask(self, step: Step, lookup: Lookup, number: int, started_at: datetime) -> Outcome:
        async with self._turn(step) as turn:
            found: LookupOutcome = await _reached(lookup, step, number, turn)
        if isinstance(found, NotFound) and not found.may_repeat:
            self._refuse_early(step, started_at)
        await self._record(step, number, found, lookups=1)
        if isinstance(found, NotFound):
            return await self._send(step, number + 1)
        return found

    def _refuse_early(self, step: Step, started_at: datetime) -> None:
        """Raise BusyError while the request may still reach the provider after it has said *not found*."""
        under_way_s = (started_at - self._clock.now()).total_seconds() + step.timeout_s + UNDER_WAY_S
        if under_way_s > 0:
            message = f"step {step.name!r} is not found there, but may still be under way"
            raise BusyError(message, delay_s=under_way_s)

    async def _send(self, step: Step, number: int) -> Outcome:
        # On record once it is its turn: a call that had to wait is not in doubt.
        async with self._turn(step) as turn:
            await self._begin(step, number)
            try:
                outcome: LookupOutcome = await _reached(step.send, step, number, turn)
            except RetryableError:
                # The provider itself said that nothing happened: the step may be sent again without asking.
                await self._record(step, number, NotFound(), lookups=0)
                raise
        # The next one may call while this is written.
        assert not isinstance(outcome, NotFound), "not found is an answer of a lookup only"
        await self._record(step, number, outcome, lookups=0)
        return outcome

    def _turn(self, step: Step) -> AbstractAsyncContextManager[Turn]:
        return nullcontext(Turn()) if self._provider is None else self._provider.turn(step.priority)

    async def _latest(self, step: Step) -> Any:
        query = (
            select(t.calls)
            .where(t.calls.c.delivery_id == step.delivery_id, t.calls.c.step == step.name)
            .order_by(t.calls.c.number.desc())
            .limit(1)
        )
        async with self._store.reading() as conn:
            return (await conn.execute(query)).first()

    async def _begin(self, step: Step, number: int) -> None:
        row = {
            "delivery_id": step.delivery_id,
            "step": step.name,
            "number": number,
            "provider": step.provider,
            "key": step.key_of(number),
            "request_hash": step.request_hash,
            "state": "started",
            "started_at": self._clock.now(),
            "lookups": 0,
        }

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(insert(t.calls), [row])

        await self._store.write(work, fence=self._fence)

    async def _record(self, step: Step, number: int, outcome: LookupOutcome, *, lookups: int) -> None:
        same_step = (t.calls.c.delivery_id == step.delivery_id) & (t.calls.c.step == step.name)
        statement = (
            update(t.calls)
            .where(same_step, t.calls.c.number == number)
            .values(
                state=STATE_OF[type(outcome)],
                outcome=stored_form(outcome),
                settled_at=self._clock.now(),
                lookups=t.calls.c.lookups + lookups,
            )
        )

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(statement)

        await self._store.write(work, fence=self._fence)


async def _reached(function: Callable[..., Awaitable[Any]], step: Step, number: int, turn: Turn) -> Any:
    """Run a call, and let its turn know how it ended."""
    try:
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
