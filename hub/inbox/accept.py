"""Accepting with group commit: what has arrived while the last commit ran shares the next one. No timer waits.

Source: docs/guarantees.md, G1.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub import tracing
from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.event import Event
from hub.inbox import metrics
from hub.inbox.doubt import forget
from hub.inbox.draft import Draft
from hub.inbox.drafting import Drafter
from hub.inbox.received import Accepted, OverloadedError, Received
from hub.inbox.rows import store_drafts
from hub.inbox.singles import SINGLES_MAX, Repeated, Single, Stored, is_single, store_singles, values_of
from hub.recent import Recent
from hub.signal import LaneSignal
from hub.store.store import Store, sqlstate
from hub.store.words import words_of
from hub.transports.base import HandedOut

BATCH_MAX = 500
RETRY_AFTER_S = 2.0
ACCEPT_S_MAX = 20.0
LOOK_S = 1.0
"""How often it is looked whether somebody has waited for too long: one timer for all, and not one for each message."""
ERROR_CHARS_MAX = 500
SLOTS = 64
DRAFTS_AT_ONCE = 50
"""After so many messages have been read, others have their turn: a worker may wait for no more than to go on."""

log = structlog.get_logger(__name__)


Tell: TypeAlias = Callable[[Sequence[Accepted] | Exception], None]
"""Is told once what became of messages: the inbox's answers, or why there is none."""


@dataclass(slots=True)
class _Waiting:
    """Messages that came together and are stored together, or not at all; ``since_s`` by the clock of the loop."""

    drafts: list[Draft]
    tell: Tell
    since_s: float
    is_told: bool = False

    def answer(self, outcome: Sequence[Accepted] | Exception) -> None:
        """Say what became of them, unless that has been said."""
        if not self.is_told:
            self.is_told = True
            try:
                self.tell(outcome)
            except Exception:
                # The others of the group are still to be told.
                log.exception("answer_not_given")


class GroupCommit:
    """Takes messages one by one and commits them in groups. An answer means that the commit is on the disk."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        drafter: Callable[[], Drafter],
        route_ids: Callable[[], Mapping[str, int]],
        to_deliver: LaneSignal,
        *,
        queue_max: int = 2_000,
        recent: Recent[Event] | None = None,
    ) -> None:
        """``recent`` is where accepted events are kept for a worker of this process; None where there is none."""
        self._store = store
        self._clock = clock
        self._drafter = drafter
        self._route_ids = route_ids
        self._to_deliver = to_deliver
        self._queue_max = queue_max
        # Of a source's counter each process raises a row of its own, or their commits would wait for each other.
        self._slot = clock.new_id().int % SLOTS
        self._recent = recent
        self._queue: deque[_Waiting] = deque()
        self._committing: Sequence[_Waiting] = ()
        self._looking: asyncio.TimerHandle | None = None
        self._waiting_messages = 0
        self._arrived = asyncio.Event()
        self._stopping = False
        self._has_ended = False

    async def accept(self, received: Received) -> Accepted:
        """Store one message. Raises OverloadedError when too many wait, StoreUnavailableError when none was stored."""
        return (await self.accept_all([received]))[0]

    def accept_soon(self, received: Received, tell: Callable[[Accepted | Exception], None]) -> None:
        """Store one message; ``tell`` is called once, with the answer or with what ``accept`` would raise.

        For who has no task that could wait. Raises OverloadedError as ``accept`` does; then nobody is told.
        """
        self._refuse_more_than_fit(1)
        draft = self._drafter().draft(received)
        self._waiting_messages += 1
        self._await_commit([draft], lambda outcome: tell(outcome if isinstance(outcome, Exception) else outcome[0]))

    async def accept_all(self, messages: Sequence[Received]) -> list[Accepted]:
        """Store several messages in one commit, in this order: all of them or none."""
        self._refuse_more_than_fit(len(messages))
        with tracing.accepting(messages) as acceptance:
            acceptance.answers = await self._stored(acceptance.messages)
        return acceptance.answers

    def _refuse_more_than_fit(self, messages: int) -> None:
        # A batch larger than the bound gets in when nothing else waits: it could never come in otherwise.
        is_full = self._waiting_messages and self._waiting_messages + messages > self._queue_max
        if self._stopping or is_full:
            metrics.OVERLOADED.inc()
            raise OverloadedError("the inbox has as much in hand as it may", delay_s=RETRY_AFTER_S)

    async def _stored(self, messages: Sequence[Received]) -> list[Accepted]:
        # Counted from here on, so that nobody fills the room while they are read.
        self._waiting_messages += len(messages)
        try:
            drafts = await self._drafted(messages)
            if self._has_ended:
                raise StoreUnavailableError("the hub is stopping", delay_s=RETRY_AFTER_S)
        except BaseException:
            self._waiting_messages -= len(messages)
            raise
        answers: asyncio.Future[list[Accepted]] = asyncio.get_running_loop().create_future()

        def tell(outcome: Sequence[Accepted] | Exception) -> None:
            # A sender that goes away takes nothing back: its message is stored all the same.
            if answers.done():
                return
            if isinstance(outcome, Exception):
                answers.set_exception(outcome)
            else:
                answers.set_result(list(outcome))

        self._await_commit(drafts, tell)
        return await answers

    def _await_commit(self, drafts: list[Draft], tell: Tell) -> None:
        loop = asyncio.get_running_loop()
        self._queue.append(_Waiting(drafts, tell, loop.time()))
        self._arrived.set()
        if self._looking is None:
            self._looking = loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        """Refuse whoever has waited too long. It may still be stored: its identity tells when it comes again."""
        loop = asyncio.get_running_loop()
        since_s_min = loop.time() - ACCEPT_S_MAX
        late = StoreUnavailableError("the database is too slow", delay_s=RETRY_AFTER_S)
        for one in (*self._committing, *self._queue):
            if one.since_s <= since_s_min:
                one.answer(late)
        self._looking = loop.call_later(LOOK_S, self._look) if self._committing or self._queue else None

    async def _drafted(self, messages: Sequence[Received]) -> list[Draft]:
        drafter, drafts = self._drafter(), list[Draft]()
        for first in range(0, len(messages), DRAFTS_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            drafts += [drafter.draft(one) for one in messages[first : first + DRAFTS_AT_ONCE]]
        return drafts

    async def forget(self, queue: str, proven: Collection[HandedOut]) -> None:
        """The broker is known to have the acknowledgement of these; see ``hub/inbox/doubt.py``."""
        await self._store.write(lambda conn: forget(conn, queue, proven, self._clock.now()))

    async def run(self) -> None:
        """Commit groups until ``stop``, then what is still waiting. Cut short, it refuses what waits at once."""
        try:
            while not (self._stopping and not self._queue):
                await self._arrived.wait()
                self._arrived.clear()
                while self._queue:
                    await self._commit(self._next_group())
        finally:
            self._stopping = self._has_ended = True
            self._refuse(self._queue, StoreUnavailableError("the hub is stopping", delay_s=RETRY_AFTER_S))
            self._queue.clear()
            if self._looking is not None:
                self._looking.cancel()

    def stop(self) -> None:
        """Take nothing new."""
        self._stopping = True
        self._arrived.set()

    @property
    def waiting(self) -> int:
        """How many messages wait for the next commit."""
        return self._waiting_messages

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        room = BATCH_MAX
        while self._queue and (not group or len(self._queue[0].drafts) <= room):
            group.append(self._queue.popleft())
            room -= len(group[-1].drafts)
        self._waiting_messages -= sum(len(one.drafts) for one in group)
        return group

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        self._committing = group
        try:
            await self._store_group(group)
        except asyncio.CancelledError:
            self._refuse(group, StoreUnavailableError("the hub is stopping", delay_s=RETRY_AFTER_S))
            raise
        finally:
            self._committing = ()

    async def _store_group(self, group: Sequence[_Waiting]) -> None:
        if self._store.dialect == "postgresql" and _are_singles(group):
            group = await self._store_singles(group)
        if group:
            await self._store_in_parts(group)

    async def _store_singles(self, group: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """Store new ones and plain repeats in one statement. What is left is to be stored in its own way."""
        drafts, kept = [one.drafts[0] for one in group], list[int]()
        try:
            values = values_of(drafts, route_ids=self._route_ids(), slot=self._slot)
        except Exception:
            # One of them is something that cannot be written: the other way finds out which.
            return group

        async def work(conn: AsyncConnection) -> list[tuple[int, tuple[Accepted, Event]]]:
            self._forget(kept)
            answers = [(one.place, _single_answer(one, drafts[one.place])) for one in await store_singles(conn, values)]
            self._keep([drafts[place] for place, _ in answers], [answer for _, answer in answers], kept)
            return answers

        try:
            answers = await self._store.write(work)
        except Exception as error:
            self._forget(kept)
            if _is_refused(error):
                # One of them is something that the database will not hold: the other way finds out which.
                return group
            # The statement commits by itself: they may be stored, and nothing of them is to be stored once more.
            self._refuse(group, error)
            return ()
        except BaseException:
            self._forget(kept)
            raise
        places = {place for place, _ in answers}
        self._answer([group[place] for place, _ in answers], [answer for _, answer in answers])
        return [one for place, one in enumerate(group) if place not in places]

    async def _store_in_parts(self, group: Sequence[_Waiting]) -> None:
        """Store them together, or those that can be: one that the database will not hold takes no neighbour with it."""
        parts = deque([group])
        while parts:
            part = parts.popleft()
            try:
                answers = await self._store_together(part)
            except StoreUnavailableError as error:
                # It is the same for all that are left, and each part would wait for it.
                self._refuse([one for rest in (part, *parts) for one in rest], error)
                return
            except Exception as error:
                if len(part) == 1:
                    self._refuse(part, error)
                else:
                    half = len(part) // 2
                    parts.extendleft((part[half:], part[:half]))
            else:
                self._answer(part, answers)

    async def _store_together(self, group: Sequence[_Waiting]) -> list[tuple[Accepted, Event]]:
        drafts = [draft for one in group for draft in one.drafts]
        route_ids, kept = self._route_ids(), list[int]()

        async def work(conn: AsyncConnection) -> list[tuple[Accepted, Event]]:
            self._forget(kept)
            answers = await store_drafts(conn, drafts, route_ids=route_ids, now=self._clock.now(), slot=self._slot)
            self._keep(drafts, answers, kept)
            return answers

        try:
            return await self._store.write(work, may_share=True)
        except BaseException:
            self._forget(kept)
            raise

    def _keep(self, drafts: Sequence[Draft], answers: Sequence[tuple[Accepted, Event]], kept: list[int]) -> None:
        """New events, for a worker of this process; before the commit, since it may see them before we hear of it."""
        if self._recent is None:
            return
        is_mine: dict[int, bool] = {}
        for draft, (accepted, event) in zip(drafts, answers, strict=True):
            if accepted.kind != "event":
                continue
            lane = event.lane
            if lane not in is_mine:
                is_mine[lane] = self._to_deliver.is_mine(lane)
            if is_mine[lane]:
                event.forget_data()
                self._recent.keep(event.seq, event, payload=event.payload, readers=len(draft.matches), is_read=True)
                kept.append(event.seq)

    def _forget(self, kept: list[int]) -> None:
        if self._recent is not None:
            self._recent.forget(kept)
        kept.clear()

    def _answer(self, group: Sequence[_Waiting], answers: Sequence[tuple[Accepted, Event]]) -> None:
        given = iter(answers)
        counts: Counter[tuple[str, str]] = Counter()
        lanes: dict[int, None] = {}
        said: list[tuple[_Waiting, list[Accepted]]] = []
        for one in group:
            own: list[Accepted] = []
            for _, (accepted, event) in zip(one.drafts, given, strict=False):
                own.append(accepted)
                counts[event.source, accepted.kind] += 1
                if accepted.kind == "event":
                    lanes[event.lane] = None
            said.append((one, own))
        for (source, kind), count in counts.items():
            metrics.ACCEPTED.labels(source=source, kind=kind).inc(count)
        self._to_deliver.add(lanes)
        if self._queue and self._store.dialect == "postgresql":
            # Once the next group is on its way: the database works on it while these are told. SQLite works on this
            # thread: nothing would be won.
            asyncio.get_running_loop().call_soon(_say, said)
        else:
            _say(said)

    def _refuse(self, group: Collection[_Waiting], error: Exception) -> None:
        if not group:
            return
        log.warning("accept_failed", error=words_of(error)[:ERROR_CHARS_MAX], groups=len(group))
        refusal = (
            error
            if isinstance(error, StoreUnavailableError)
            else StoreUnavailableError("the inbox could not store it", delay_s=RETRY_AFTER_S)
        )
        for one in group:
            one.answer(refusal)


def _say(said: Sequence[tuple[_Waiting, Sequence[Accepted]]]) -> None:
    for one, answers in said:
        one.answer(answers)


def _single_answer(single: Single, draft: Draft) -> tuple[Accepted, Event]:
    match single:
        case Stored(number=number):
            return Accepted("event", draft.event.id), draft.numbered(number).event
        case Repeated(first=first):
            return Accepted("duplicate", first), draft.event
        case _:
            assert_never(single)


def _is_refused(error: Exception) -> bool:
    """Whether the database says that the statement failed, or its driver that it holds a value which cannot be sent."""
    is_bad_value = isinstance(error, InterfaceError) and isinstance(getattr(error.orig, "__cause__", None), ValueError)
    return isinstance(error, DBAPIError) and (bool(sqlstate(error)) or is_bad_value)


def _are_singles(group: Sequence[_Waiting]) -> bool:
    return len(group) <= SINGLES_MAX and all(len(one.drafts) == 1 and is_single(one.drafts[0]) for one in group)
