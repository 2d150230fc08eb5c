"""What a handler holds in its hands: the event, the time, the books, and everything it may cause.

Effects are collected here and written by the hub when the handler has returned, all in one transaction with the mark
that the delivery is done. A handler that raises causes nothing. Source: docs/guarantees.md, G2; docs/extending.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from hub.calls.outcome import Outcome
from hub.calls.record import CALL_S_MAX, CallRecorder, Key, Lookup, Send, Step
from hub.clock import Clock
from hub.deliver.books import LedgerUnit
from hub.deliver.effects import Effects, ReviewAnswer, Timer
from hub.deliver.pace import Pace
from hub.deliver.publishing import Payload, encode, message_id, outgoing
from hub.errors import PermanentError
from hub.event import Event, Verdict, route_id_of
from hub.flow.flow import Flow
from hub.flow.priority import Priority
from hub.inbox.claims import Claim, claim
from hub.inbox.drafting import Drafter
from hub.inbox.identity import claimed_identity
from hub.inbox.received import Received
from hub.jsonbody import parse_json, write_json
from hub.ledger import Book
from hub.recent import Recent
from hub.routing import CompiledRoute, DestinationConfig, sameness_hash
from hub.store.session import open_session
from hub.store.store import Store
from hub.transports.base import OutboundMessage

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

DELAY_S_MAX = 400 * 86_400.0
CALM_S_MIN = 1.0
"""A timer of at least this long is no step of a loop."""


class Transaction(Protocol):
    """The transaction that a delivery's effects belong to; opened when it is first needed."""

    async def ledger(self) -> Book: ...

    def session(self) -> AsyncSession: ...

    async def begin(self) -> None: ...

    @property
    def is_open(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every delivery of a process shares."""

    store: Store
    clock: Clock
    drafter: Callable[[], Drafter]
    destinations: Callable[[], Mapping[str, DestinationConfig]]
    settings_of: Callable[[str], Any]
    flow: Flow
    recent_events: Recent[Event] = field(default_factory=Recent)
    recent_messages: Recent[OutboundMessage] = field(default_factory=Recent)
    pace: Pace = field(default_factory=Pace)


class Context:
    """One attempt of one delivery, as its handler sees it. Not to be kept after the handler has returned."""

    def __init__(
        self,
        event: Event,
        route: CompiledRoute,
        delivery_id: int,
        around: Surroundings,
        transaction: Transaction,
        *,
        recorder: CallRecorder | None = None,
        provider: str = "",
        priority: Priority = Priority.MONEY,
    ) -> None:
        self.event = event
        self.route = route.name
        self.options: Mapping[str, object] = route.options
        self.delivery_id = delivery_id
        self.effects = Effects()
        self.ledger = LedgerUnit(transaction.ledger, event.id, delivery_id)
        self._route = route
        self._around = around
        self._transaction = transaction
        self._recorder = recorder
        self._provider = provider
        self._priority = priority
        self._emitted = 0
        self._published = 0
        self._readings = 0
        self._is_closed = False
        self._has_claimed = False

    def close(self) -> None:
        """The handler has ended: whoever kept this context can cause nothing with it any more."""
        self._is_closed = True

    def _refuse_late_use(self) -> None:
        if self._is_closed:
            raise RuntimeError("the delivery has ended: its context cannot be used any more")

    @property
    def now(self) -> datetime:
        """Aware UTC, from the hub's clock."""
        return self._around.clock.now()

    @property
    def waited_s(self) -> float:
        """How long ago the event was received: what a handler asks before it raises NotYet once more."""
        return (self.now - self.event.received_at).total_seconds()

    @property
    def settings(self) -> Any:
        """The settings object of the handler's capability."""
        return self._around.settings_of((self._route.handle or "").partition(".")[0])

    @property
    def session(self) -> AsyncSession:
        """State of the capability's own tables, in the same transaction as everything else."""
        return self._transaction.session()

    async def begin(self) -> None:
        """In a calling handler: open the transaction for the effects, after the last call and before ``session``."""
        await self._transaction.begin()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A read-only look at the tables, for a calling handler before its call: leave it before ``call``.

        While it is open, a call is refused: its snapshot is a transaction, and a provider may take half a minute.
        """
        self._readings += 1
        try:
            async with self._around.store.reading() as conn, open_session(conn) as session:
                yield session
        finally:
            self._readings -= 1

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A part that may fail alone: when it raises, all it caused is undone and the error rises to the handler.

        Postings, state, events, messages, timers, tags and the outcome go back to what they were before it.
        """
        self._refuse_late_use()
        kept = self.effects.copy()
        try:
            async with self.ledger.savepoint(), self.session.begin_nested():
                yield
        except BaseException:
            self.effects.restore(kept)
            raise

    def new_id(self) -> UUID:
        """A fresh, time-ordered id."""
        return self._around.clock.new_id()

    async def emit(
        self,
        type: str,
        payload: Payload,
        *,
        key: str | None = None,
        after: Sequence[str] = (),
        dedupe_id: str | None = None,
    ) -> UUID:
        """A new internal event, stored and routed by the rules in this transaction.

        Its identity is stable: by default it is made from this event, this route and the number of the emission. A
        ``dedupe_id`` of your own recognises a repeat among all that handlers emit of this type.
        """
        self._refuse_late_use()
        self._emitted += 1
        draft = self._around.drafter().internal(
            type,
            encode(payload),
            key=key,
            after=after,
            dedupe_id=dedupe_id or f"{self.event.id}/{route_id_of(self.delivery_id)}/{self._emitted}",
            traceparent=self.event.traceparent,
            hops=self.event.hops + 1,
            cause=self.event.id,
        )
        self.effects.drafts.append(draft)
        return draft.event.id

    async def accept(self, source: str, payload: Payload) -> UUID:
        """A message that a declared source should have brought and that was fetched instead, in this transaction.

        It is read, identified and routed as that source declares: where the source brings it after all, earlier or
        later, one of the two is a duplicate. Raises UsageError for a source that is not declared.
        """
        self._refuse_late_use()
        received = Received(
            source=source, body=encode(payload), verdict=Verdict.TRUSTED, traceparent=self.event.traceparent
        )
        draft = self._around.drafter().draft(received)
        self.effects.drafts.append(draft)
        return draft.event.id

    async def publish(
        self,
        message: Payload,
        *,
        routing_key: str | None = None,
        to: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """A message to the destinations of this delivery's route (``publish:``), or to the one called ``to``.

        Returns its message id, which is the same however often the delivery is tried. Order is kept per ``key``, by
        default the event's. Raises PermanentError when there is no such destination.
        """
        names = [to] if to is not None else list(self._route.publish)
        if not names:
            raise PermanentError(f"route {self.route} has no `publish:` that says where its handler's messages go")
        self._refuse_late_use()
        self._published += 1
        identity, payload = message_id(self.event.id, self.delivery_id, self._published), encode(message)
        destinations = self._around.destinations()
        self.effects.messages += [
            outgoing(
                self.event,
                destinations,
                name,
                identity=identity,
                payload=payload,
                routing_key=routing_key,
                key=key,
                headers=headers or {},
            )
            for name in names
        ]
        return identity

    async def after(
        self,
        delay_s: float,
        type: str,
        payload: Payload,
        *,
        key: str | None = None,
        dedupe_id: str | None = None,
    ) -> None:
        """An internal event that comes ``delay_s`` seconds from now."""
        if not 0 <= delay_s <= DELAY_S_MAX:
            raise PermanentError(f"a timer runs from 0 to {DELAY_S_MAX:g} s, not {delay_s:g}")
        self._refuse_late_use()
        self._emitted += 1
        self.effects.timers.append(
            Timer(
                due_at=self.now + timedelta(seconds=delay_s),
                draft_type=type,
                key=key,
                dedupe_id=dedupe_id or f"{self.event.id}/{route_id_of(self.delivery_id)}/{self._emitted}",
                payload=encode(payload),
                traceparent=self.event.traceparent,
                # A poll that sets its own timer again is no loop, and cannot run hot.
                hops=self.event.hops + (1 if delay_s < CALM_S_MIN else 0),
                cause=self.event.id,
            )
        )

    def tag(self, name: str, value: str) -> None:
        """A name by which a person will look for this event, such as an order code."""
        self._refuse_late_use()
        self.effects.tags.add((name, value))

    def conclude(self, outcome: str) -> None:
        """The delivery's outcome in a word."""
        self.effects.outcome = outcome

    def review(self, outcome: str, reason: str) -> None:
        """A business refusal: the delivery is done, and its result is on a person's list."""
        self.effects.outcome = outcome
        self.effects.review, self.effects.refusal = (outcome, reason), None

    def refuse(self, outcome: str, reason: str) -> None:
        """The event's sender is not who it says: the delivery ends as *refused*, with this outcome and its reason.

        For sources whose sender is proven only here (``verify: deferred``). What else was caused (an event or a message
        that tells of the refusal) is written as always. Raises PermanentError after ``claim``: nothing that is not
        proven may hold an identity.
        """
        self._refuse_late_use()
        if self._has_claimed:
            raise PermanentError("an event whose id was claimed cannot be refused: prove its sender before the claim")
        self.effects.outcome = outcome
        self.effects.review, self.effects.refusal = None, reason

    async def claim(self, kind: str, id: str, *, same: object = None) -> Claim:
        """Claim an id that the event names, for ever, in this transaction: what recognises a repeat after verification.

        ``kind`` names what the id is of (``event``, ``payment``), within this capability. ``same`` is what tells a
        repeat from a conflict, any JSON value; by default the event's payload. Waits for another transaction that
        claims the same. In a calling handler, after the last call. Raises PermanentError after ``refuse``.
        """
        self._refuse_late_use()
        if self.effects.refusal is not None:
            raise PermanentError("a refused event claims nothing")
        await self._transaction.begin()
        self._has_claimed = True
        said = self.event.data if same is None else parse_json(write_json(same).encode())
        identity = claimed_identity((self._route.handle or "").partition(".")[0], kind, id)
        return await claim(await self.session.connection(), identity, sameness_hash(said, None), self.event.id)

    def resolve_review(self, event_id: UUID, note: str) -> None:
        """What a person was to look at is settled: close the reviews of this event that are open, with why.

        ``event_id`` is the event whose delivery asked for the review, as the capability kept it. Closing none is no
        error. Reviews of this delivery itself and of later ones stay.
        """
        self._refuse_late_use()
        self.effects.answers.append(ReviewAnswer(event_id, note, by=f"route {self.route}"))

    async def call(
        self,
        step: str,
        fn: Send,
        request: Any,
        *,
        key: Key = None,
        lookup: Lookup | None = None,
        timeout_s: float = CALL_S_MAX,
        priority: Priority | None = None,
        is_read: bool = False,
    ) -> Outcome:
        """Call a provider: the only way out. ``fn`` and ``lookup`` are awaited with (request, key).

        The call is on record before it is sent. On a later attempt a decided step returns its stored outcome, and an
        undecided one asks ``lookup`` before anything is sent again; see ``hub/calls/record.py``. Only in a handler
        marked with ``@calls``, and before it first touches the ledger or the session.

        ``is_read``: it moves nothing at the provider. It is on record once it is answered, and is its own ``lookup``.

        It waits for its turn at the provider, by ``priority`` (unset: the handler's). Raises BusyError when the
        provider stands still or has no room; nothing was sent then.
        """
        recorder = self._calling(f"step {step!r}")
        return await recorder.run(
            Step(
                delivery_id=self.delivery_id,
                event=self.event,
                provider=self._provider,
                name=step,
                send=fn,
                request=request,
                key=key,
                lookup=fn if is_read and lookup is None else lookup,
                timeout_s=timeout_s,
                priority=self._priority if priority is None else priority,
                is_read=is_read,
            )
        )

    async def pause_provider(self, for_s: float, reason: str) -> None:
        """Let nobody call this handler's provider for a time, in any process: it said that it is being maintained.

        Committed at once, whatever becomes of the delivery. Only where a call may be made. The call that was told so
        is for the handler to judge; its next attempt comes when the pause is over.
        """
        recorder = self._calling("pause_provider")
        await recorder.pause_provider(for_s, by=f"route {self.route}", reason=reason)

    def _calling(self, what: str) -> CallRecorder:
        """What records calls, where one may be made now. Raises PermanentError."""
        self._refuse_late_use()
        if self._recorder is None:
            raise PermanentError(f"the handler of route {self.route} makes a call: mark it with @calls")
        if self._transaction.is_open:
            raise PermanentError(f"{what}: make every call before the ledger or the session is touched")
        if self._readings:
            raise PermanentError(f"{what}: leave `async with ctx.reading()` before the call")
        return self._recorder
