"""Running a batch: many deliveries in one transaction, each alone with its own failure.

A handler that raises loses only its own effects. An error that the database finds when the batch is written is searched
by halving, so that it hurts only the delivery that caused it. Source: docs/guarantees.md, G2 and G6.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub import tracing
from hub.capability import LockAhead
from hub.deliver.context import Context, Surroundings
from hub.deliver.drive import HandlerStuckError, drive
from hub.deliver.effects import Effects, OutgoingMessage
from hub.deliver.publishing import message_id
from hub.deliver.registry import Rules
from hub.deliver.settle import Attempt
from hub.deliver.unit import BatchTransaction, Owned, UnitOfWork
from hub.deliver.work import Calling, Deferred, Discarded, Done, Ending, Failed, Work
from hub.errors import BusyError, HubError, NotYet, PermanentError, RetryableError, StoreUnavailableError
from hub.event import Event
from hub.inbox.drafting import problem_of
from hub.inbox.received import Accepted
from hub.ledger import Account, Book, PostedEntry
from hub.ledger.errors import LedgerError
from hub.routing import CompiledRoute, ConditionError, DestinationConfig, Facts
from hub.store.store import sqlstate, unavailable
from hub.store.words import words_for_logs, words_of

log = structlog.get_logger(__name__)

BATCH_S_MAX = 0.5
"""How long the handlers of one batch may take together: its locks are held that long, on SQLite everybody waits."""
AHEAD_MAX = 50
"""How many deliveries of a batch may lock ahead: what they lock is held until the last of them has run."""
GLANCES_MAX = 4
"""So many accounts that a handler has met are read with those that it declares: sales, clearing, not one per member."""
STATEMENT_GIVEN_UP = frozenset({"55P03", "57014"})
"""PostgreSQL gave up one statement (a lock was not to be had, it took too long); the connection is still good."""
ERROR_CHARS_MAX = 500
TRANSACTION_LOST = "25P02"
"""PostgreSQL: an earlier statement of this transaction has failed, and this one was not even looked at."""


@dataclass(slots=True)
class BatchResult:
    """What a batch did: endings to be settled, the events that it emitted, the lanes that it published to."""

    attempts: list[Attempt] = field(default_factory=list)
    emitted: list[Event] = field(default_factory=list)
    published: set[int] = field(default_factory=set)
    messages: list[tuple[int, OutgoingMessage]] = field(default_factory=list)
    """What was put into the outbox, by number."""
    calling: list[Work] = field(default_factory=list)
    answers: dict[int, object] = field(default_factory=dict)
    """What each handler returned, by delivery: a command's answer."""
    raised: dict[int, BaseException] = field(default_factory=dict)
    kept: list[Owned] = field(default_factory=list)
    """What each delivery caused, and ``entries`` what they posted: a rehearsal shows it."""
    entries: list[PostedEntry] = field(default_factory=list)
    left: int = 0
    """How many deliveries of the batch there was no time or no room for."""
    stored: list[tuple[Accepted, Event]] = field(default_factory=list)
    """The inbox's answer to each event that was emitted, repeats included."""


class FlushError(HubError):
    """The batch as a whole could not be written; one of its deliveries is the cause, ``culprit`` where it is known."""

    def __init__(self, cause: BaseException, culprit: Work | None = None) -> None:
        super().__init__(words_for_logs(cause))
        self.cause = cause
        self.culprit = culprit


@dataclass(slots=True)
class _Batch:
    """What the deliveries of one run share. ``arguments`` are those that were read before their handlers run."""

    unit: UnitOfWork
    rules: Rules
    around: Surroundings
    result: BatchResult
    arguments: dict[int, object]


class BatchRunner:
    """Runs the handlers of one batch inside one transaction."""

    def __init__(self, around: Surroundings, slot: int = 0, *, open_book: Callable[..., Book] = Book) -> None:
        self._around = around
        self._open_book = open_book
        self.slot = slot
        """Which row of a system account is written."""
        self._summed: dict[str, tuple[Account, ...]] = {}
        """The accounts without a running balance that a handler has met, by its name, while they are few."""
        self.touched: tuple[Account, ...] = ()
        """The accounts that the last run met: a run again after a deadlock locks them first, in order."""

    async def run(
        self,
        conn: AsyncConnection,
        works: Sequence[Work],
        rules: Rules,
        *,
        lock_first: Sequence[Account] = (),
        may_cut: bool = False,
    ) -> BatchResult:
        """Run these deliveries in order and write their effects. Raises FlushError when the writing failed.

        With ``may_cut`` those for which there is no time are left as they are: the next batch takes them.
        """
        now = self._around.clock.now()
        unit = UnitOfWork(conn, rules.route_ids, now, self.slot, open_book=self._open_book)
        try:
            await _lock_ahead(unit, lock_first)
            bounded = _bounded(works, rules) if may_cut else works
            result = await self._run(unit, bounded, rules, may_cut=may_cut)
            result.left += len(works) - len(bounded)
            return result
        finally:
            self.touched = unit.book.touched
            self._remember(works, rules)

    async def _run(self, unit: UnitOfWork, works: Sequence[Work], rules: Rules, *, may_cut: bool) -> BatchResult:
        result = BatchResult()
        failed_chains: set[int] = set()
        kept: list[Owned] = []
        batch = _Batch(unit, rules, pinned(self._around, rules), result, await self._lock_declared(unit, works, rules))
        end = time.perf_counter() + BATCH_S_MAX
        for work in works:
            if may_cut and result.attempts and time.perf_counter() > end:
                result.left = len(works) - len(result.attempts)
                break
            # What stands behind a failure waits for it; it is still ready and will be met as blocked.
            if work.chain in failed_chains:
                continue
            attempt, effects = await self._one(batch, work)
            result.attempts.append(attempt)
            if isinstance(attempt.ending, Failed | Calling) and work.state != "deferred":
                failed_chains.add(work.chain)
            if isinstance(attempt.ending, Calling):
                result.calling.append(work)
            if effects is not None:
                kept.append(Owned(work.id, work.event.id, effects))
                result.answers[work.id] = effects.result
        await self._flush(unit, kept, result)
        return result

    async def _lock_declared(self, unit: UnitOfWork, works: Sequence[Work], rules: Rules) -> dict[int, object]:
        """Lock what the handlers declare, in order; answers the arguments that had to be read for it."""
        accounts: list[Account] = []
        arguments: dict[int, object] = {}
        ahead: dict[LockAhead, list[object]] = {}
        for work in works:
            spec = rules.handler_of(work.route_id)
            if spec is None or spec.kind != "database" or (spec.accounts is None and spec.ahead is None):
                continue
            try:
                argument = argument_of(spec.model, work.event)
                accounts += spec.accounts(argument) if spec.accounts is not None else ()
            except Exception:  # noqa: S112 - the handler itself will say what is wrong with its event
                continue
            arguments[work.id] = argument
            if spec.ahead is not None:
                ahead.setdefault(spec.ahead, []).append(argument)
        # One alone takes its locks in the right order by itself.
        if len(works) > 1:
            for lock, together in ahead.items():
                accounts += await _locked_together(lock, together, unit)
        await _lock_ahead(unit, accounts, self._summed.get(_handler_of_all(works, rules), ()) if accounts else ())
        return arguments

    def _remember(self, works: Sequence[Work], rules: Rules) -> None:
        """For the next run of the same handler, which reads them with the accounts that it declares."""
        name = _handler_of_all(works, rules)
        summed = dict.fromkeys(account for account in self.touched if not account.running)
        if name and len(known := summed | dict.fromkeys(self._summed.get(name, ()))) <= GLANCES_MAX:
            self._summed[name] = tuple(known)

    async def _one(self, batch: _Batch, work: Work) -> tuple[Attempt, Effects | None]:
        started_at, start = self._around.clock.now(), time.perf_counter()
        unit, transaction = batch.unit, BatchTransaction(batch.unit)
        mark = unit.book.mark()
        effects: Effects | None = None
        try:
            ending, effects = await self._handle(batch, work, transaction)
            await transaction.keep()
        except (Exception, asyncio.CancelledError) as error:
            if _must_rise(error):
                raise
            if isinstance(error, HandlerStuckError) or transaction.is_lost:
                raise FlushError(error, work) from error
            if isinstance(error, DBAPIError) and not transaction.has_savepoint:
                # The database said no outside a savepoint: the transaction is lost for everyone in it. Where it only
                # repeats that it is lost, somebody before has swallowed the reason.
                raise FlushError(error, None if sqlstate(error) == TRANSACTION_LOST else work) from error
            had_savepoint = transaction.has_savepoint
            await transaction.drop()
            unit.book.undo_to(mark, rolled_back=had_savepoint)
            batch.result.raised[work.id] = error
            ending, effects = ending_of(error), None
        finally:
            transaction.close()
        return Attempt(work, ending, started_at, (time.perf_counter() - start) * 1000), effects

    async def _handle(self, batch: _Batch, work: Work, transaction: BatchTransaction) -> tuple[Ending, Effects | None]:
        rules = batch.rules
        route = rules.routes_by_id.get(work.route_id)
        if route is None:
            raise PermanentError("its route is no longer in routing.yaml")
        if work.unsure and not holds(route, work.event):
            return Discarded("condition false"), None
        if route.handle is None:
            return Done("published"), forward(tracing.carried(work), route, self._around.destinations())
        spec = rules.handlers[route.handle]
        if spec.kind == "calls":
            return Calling(), None
        work = tracing.carried(work)
        context = Context(work.event, route, work.id, batch.around, transaction)
        try:
            known = batch.arguments.get(work.id)
            argument = known if known is not None else argument_of(spec.model, work.event)
            running = spec.function(argument, context)
            context.effects.result = await drive(running, spec.timeout_s, on_late=transaction.interrupt)
        finally:
            context.close()
        return context.effects.ending, context.effects

    async def _flush(self, unit: UnitOfWork, kept: Sequence[Owned], result: BatchResult) -> None:
        result.kept, result.entries = list(kept), list(unit.book.pending)
        try:
            result.stored = await unit.flush(kept)
        except Exception as error:
            if _must_rise(error):
                raise
            # Whatever else it is, one of these deliveries brought it: it must not end the worker.
            raise FlushError(error) from error
        result.messages = unit.stored_messages
        result.emitted = [event for answer, event in result.stored if answer.kind == "event"]
        result.published = {message.lane for one in kept for message in one.effects.messages}


def pinned(around: Surroundings, rules: Rules) -> Surroundings:
    """The surroundings with the routing of these rules: a reload in the middle must not route what is emitted here."""
    return replace(around, drafter=lambda: rules.drafter)


async def _locked_together(lock: LockAhead, arguments: Sequence[object], unit: UnitOfWork) -> Sequence[Account]:
    """What a handler locks for all its deliveries of a batch. One of them may be too much for it: they are halved."""
    try:
        return await lock(arguments, unit.conn)
    except Exception as error:
        if _must_rise(error) or (isinstance(error, DBAPIError) and _is_away(error)):
            raise
        raise FlushError(error) from error


def _is_away(error: DBAPIError) -> bool:
    """The database itself, and not a lock that somebody holds on a row of one of these deliveries."""
    return unavailable(error) is not None and sqlstate(error) not in STATEMENT_GIVEN_UP


def _bounded(works: Sequence[Work], rules: Rules) -> list[Work]:
    """Those that one batch may take, where some lock ahead; what stands behind one that is left out is left out too."""
    taken: list[Work] = []
    left_out: set[int] = set()
    room = AHEAD_MAX
    for work in works:
        spec = rules.handler_of(work.route_id)
        locks_ahead = spec is not None and spec.ahead is not None
        if work.chain in left_out or (locks_ahead and room <= 0):
            left_out.add(work.chain)
            continue
        room -= locks_ahead
        taken.append(work)
    return taken


def _handler_of_all(works: Sequence[Work], rules: Rules) -> str:
    """The name of the handler that all of these run by; an empty text where there are several, or none."""
    routes = {work.route_id: rules.routes_by_id.get(work.route_id) for work in works}
    names = {route.handle or "" if route is not None else "" for route in routes.values()}
    return names.pop() if len(names) == 1 else ""


async def _lock_ahead(unit: UnitOfWork, accounts: Sequence[Account], glance: Sequence[Account] = ()) -> None:
    """Lock accounts before anybody touches them, so that batches do it in one order."""
    try:
        await unit.book.lock(accounts, glance=glance)
    except LedgerError as error:
        # Known otherwise than somebody declares: whoever touches it will hear so, and nobody else.
        log.warning("accounts_not_locked_ahead", error=str(error))


def argument_of(model: type[BaseModel] | None, event: Event) -> object:
    """What the handler's first parameter is: the payload as its model, or the event itself."""
    if model is None:
        return event
    try:
        return event.read_as(model)
    except ValidationError as error:
        raise PermanentError(f"{event.type} does not fit {model.__name__}: {problem_of(error)}") from error


def holds(route: CompiledRoute, event: Event) -> bool:
    """Ask the route's condition again. Raises PermanentError when it cannot be evaluated."""
    try:
        return route.condition is None or route.condition.holds(Facts(event))
    except ConditionError as error:
        raise PermanentError(f"condition: {error}") from error


def forward(work: Work, route: CompiledRoute, destinations: Mapping[str, DestinationConfig]) -> Effects:
    """The event itself, byte for byte, to the route's destinations."""
    effects = Effects(outcome="published")
    event = work.event
    for name in route.publish:
        destination = destinations.get(name)
        if destination is None:
            raise PermanentError(f"destination {name!r} is no longer in routing.yaml")
        effects.messages.append(
            OutgoingMessage(
                message_id=message_id(event.id, work.id, 1),
                destination=name,
                routing_key=destination.routing_key_for(type_=event.type, key=event.key, source=event.source),
                key=event.chain_key,
                content_type=event.content_type,
                payload=event.payload,
                headers={**event.headers, "traceparent": event.traceparent},
            )
        )
    return effects


def ending_of(error: BaseException) -> Ending:
    """What an error means for the delivery: the class says what to do."""
    match error:
        case NotYet():
            return Deferred(error.reason, error.within_s, error.on_deadline, error.refuses)
        case PermanentError():
            return Failed(str(error), permanent=True)
        case BusyError():
            return Failed(str(error), retry_s=error.delay_s, counts=False, within_s=error.within_s)
        case StoreUnavailableError():
            return Failed(str(error), retry_s=error.delay_s, counts=False)
        case RetryableError():
            return Failed(str(error), retry_s=error.delay_s)
        case DBAPIError() if unavailable(error) is not None:
            return Failed(str(unavailable(error)), counts=False)
        case _:
            return Failed(words_of(error)[:ERROR_CHARS_MAX], kind=type(error).__name__)


def _must_rise(error: BaseException) -> bool:
    """Errors that end the batch: the process is stopping, or the database wants the transaction run again."""
    if isinstance(error, asyncio.CancelledError):
        return is_being_cancelled()
    if not isinstance(error, DBAPIError) or sqlstate(error) in STATEMENT_GIVEN_UP:
        # What one handler was refused, by a lock that somebody holds or by another database, is its own affair.
        return False
    return sqlstate(error)[:2] == "40" or unavailable(error) is not None


def is_being_cancelled() -> bool:
    """Somebody cancelled this task. Libraries raise CancelledError uninvited, too: that is an error like any other."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def single_failure(work: Work, error: FlushError, started_at: datetime) -> Attempt:
    """The attempt of a delivery whose effects the database refused, or whose handler would not end."""
    return Attempt(work, ending_of(error.cause), started_at, 0.0)
