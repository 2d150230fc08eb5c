"""A unit of work: one transaction for a batch of deliveries, with their effects written as sets at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import ScalarSelect, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.effects import Effects, OutgoingMessage
from hub.event import Event, lane_of, outbox_chain_of, uuid7
from hub.inbox.received import Accepted
from hub.inbox.rows import store_drafts
from hub.ledger import Book
from hub.store import tables as t
from hub.store.bulk import BulkInsert, Record
from hub.store.sequences import Wanted, draw
from hub.store.session import open_session
from hub.store.store import interrupt

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


@dataclass(frozen=True, slots=True)
class Owned:
    """Effects with the delivery that they belong to."""

    delivery_id: int
    event_id: UUID
    effects: Effects


class UnitOfWork:
    """The books, the sessions and the effects of one transaction. The caller commits or rolls back."""

    def __init__(
        self,
        conn: AsyncConnection,
        route_ids: Mapping[str, int],
        now: datetime,
        slot: int = 0,
        *,
        open_book: Callable[..., Book] = Book,
    ) -> None:
        self.conn = conn
        self.book = open_book(conn, now=now, slot=slot)
        self._route_ids = route_ids
        self._now = now
        self._slot = slot
        self.stored_messages: list[tuple[int, OutgoingMessage]] = []
        """What ``flush`` has put into the outbox, by number."""

    async def flush(self, owned: Sequence[Owned]) -> list[tuple[Accepted, Event]]:
        """Write everything; the answers are those of the events that were emitted."""
        messages = [(one, message) for one in owned for message in one.effects.messages]
        numbers = await self.book.flush(also=Wanted("outbox_seq", len(messages)))
        emitted = await self._store_events(owned)
        self.stored_messages = await _write_messages(self.conn, numbers, messages, self._now)
        await self._store_timers(owned)
        await self._store_tags(owned)
        await self._store_reviews(owned)
        await self._resolve_reviews(owned)
        return emitted

    async def _store_events(self, owned: Sequence[Owned]) -> list[tuple[Accepted, Event]]:
        drafts = [draft for one in owned for draft in one.effects.drafts]
        if not drafts:
            return []
        answers = await store_drafts(self.conn, drafts, route_ids=self._route_ids, now=self._now, slot=self._slot)
        return list(answers)

    async def _store_timers(self, owned: Sequence[Owned]) -> None:
        rows = [
            (
                uuid7(),
                timer.due_at,
                timer.draft_type,
                timer.key,
                timer.dedupe_id,
                timer.payload,
                timer.traceparent,
                timer.hops,
                timer.cause,
            )
            for one in owned
            for timer in one.effects.timers
        ]
        if rows:
            await _INSERT_TIMERS.run(self.conn, rows)

    async def _store_tags(self, owned: Sequence[Owned]) -> None:
        rows = [(name, value, one.event_id) for one in owned for name, value in sorted(one.effects.tags)]
        if rows:
            await _INSERT_TAGS.run(self.conn, rows)

    async def _store_reviews(self, owned: Sequence[Owned]) -> None:
        rows = [
            {
                "delivery_id": one.delivery_id,
                "event_id": one.event_id,
                "outcome": one.effects.review[0],
                "reason": one.effects.review[1],
                "state": "open",
                "created_at": self._now,
            }
            for one in owned
            if one.effects.review is not None
        ]
        if rows:
            await self.conn.execute(insert(t.reviews), rows)

    async def _resolve_reviews(self, owned: Sequence[Owned]) -> None:
        """Close what handlers say is settled; reviews that were asked for after that, in this unit, stay open."""
        for position, one in enumerate(owned):
            for answer in one.effects.answers:
                later = [another.delivery_id for another in owned[position:]]
                of_event = select(t.deliveries.c.id).where(t.deliveries.c.event_seq == _seq_of(answer.event_id))
                await self.conn.execute(
                    update(t.reviews)
                    .where(t.reviews.c.delivery_id.in_(of_event), t.reviews.c.delivery_id.not_in(later))
                    .where(t.reviews.c.state == "open")
                    .values(state="resolved", resolved_at=self._now, resolved_by=answer.by, note=answer.note)
                )


def _seq_of(event_id: UUID) -> ScalarSelect[int]:
    return select(t.inbox.c.seq).where(t.inbox.c.id == event_id).scalar_subquery()


async def store_messages(
    conn: AsyncConnection, owned: Sequence[Owned], now: datetime
) -> list[tuple[int, OutgoingMessage]]:
    """Write the messages of these deliveries into the outbox, in their order; answers with their numbers."""
    messages = [(one, message) for one in owned for message in one.effects.messages]
    numbers = await draw(conn, "outbox_seq", len(messages)) if messages else []
    return await _write_messages(conn, numbers, messages, now)


async def _write_messages(
    conn: AsyncConnection, numbers: Sequence[int], messages: Sequence[tuple[Owned, OutgoingMessage]], now: datetime
) -> list[tuple[int, OutgoingMessage]]:
    if not messages:
        return []
    records = [_message_record(number, *message) for number, message in zip(numbers, messages, strict=True)]
    await _INSERT_MESSAGES.run(conn, records, ("ready", 0, now))
    return [(number, message) for number, (_, message) in zip(numbers, messages, strict=True)]


def _message_record(number: int, one: Owned, message: OutgoingMessage) -> Record:
    """An outbox row. Its chain is (destination, key): the order that consumers are promised."""
    key = message.key if message.key is not None else message.message_id
    return (
        number,
        message.message_id,
        one.delivery_id,
        one.event_id,
        message.destination,
        message.routing_key,
        message.key,
        lane_of(key),
        outbox_chain_of(message.destination, key),
        message.content_type,
        message.payload,
        dict(message.headers),
    )


_INSERT_MESSAGES = BulkInsert(
    t.outbox,
    (
        "seq",
        "message_id",
        "delivery_id",
        "event_id",
        "destination",
        "routing_key",
        "key",
        "lane",
        "chain",
        "content_type",
        "payload",
        "headers",
    ),
    same=("state", "attempts", "created_at"),
)


_INSERT_TIMERS = BulkInsert(
    t.timers, ("id", "due_at", "type", "key", "dedupe_id", "payload", "traceparent", "hops", "cause")
)
_INSERT_TAGS = BulkInsert(t.tags, ("name", "value", "event_id"), conflict="ON CONFLICT DO NOTHING")


class BatchTransaction:
    """A delivery's share of a batch: the batch's book, and a session with a savepoint of its own if it asks for one."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit
        self._session: AsyncSession | None = None
        self._is_closed = False
        self._is_releasing = False

    async def ledger(self) -> Book:
        self._refuse_late_use()
        return self._unit.book

    def session(self) -> AsyncSession:
        self._refuse_late_use()
        if self._session is None:
            self._session = open_session(
                self._unit.conn,
                join_transaction_mode="create_savepoint",
                # A handler that keeps it finds it closed, instead of a new savepoint in the batch of others.
                close_resets_only=False,
            )
        return self._session

    async def begin(self) -> None:
        """It is open: the batch opened it."""
        self._refuse_late_use()

    @property
    def is_open(self) -> bool:
        return True

    @property
    def has_savepoint(self) -> bool:
        """Whether an error of the database can be undone without losing the whole batch."""
        return self._session is not None and self._session.in_transaction() and not self._is_releasing

    @property
    def is_lost(self) -> bool:
        """The connection is gone, as after a statement that was cut off: nothing of the batch can be kept."""
        return self._unit.conn.invalidated

    def interrupt(self) -> None:
        """Stop the statement that is under way, so that its connection can be given back."""
        interrupt(self._unit.conn)

    async def keep(self) -> None:
        """Write what the session holds and release its savepoint."""
        if self._session is not None:
            await self._session.flush()
            # A savepoint that cannot be released cannot be gone back to either.
            self._is_releasing = True
            await self._session.commit()
            await self._session.close()
        self._is_closed = True

    async def drop(self) -> None:
        """Undo what the session did, to its savepoint."""
        if self._session is not None:
            await self._session.rollback()
            await self._session.close()
        self._is_closed = True

    def close(self) -> None:
        """Nothing may be done through this any more, such as by a handler that outlived its time."""
        self._is_closed = True

    def _refuse_late_use(self) -> None:
        if self._is_closed:
            raise RuntimeError("the delivery has ended: its context cannot be used any more")
