"""Runs one handler at a time on a real database, as a delivery would, and shows what it caused."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import BaseModel
from sqlalchemy import MetaData, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

import hub.ledger.ddl
from hub.capability import HandlerSpec
from hub.deliver.books import LedgerUnit
from hub.event import Event, Verdict, new_traceparent, uuid7
from hub.ledger import Account, Book
from hub.store.metadata import metadata as hub_metadata
from hub.store.store import Store

assert hub.ledger.ddl  # its listeners create the rules together with the tables

POSTGRESQL = os.environ.get("HUB_TEST_POSTGRESQL_URL", "postgresql+asyncpg://root@127.0.0.1:5432/test")
START = datetime(2024, 11, 15, 2, 35, 5, tzinfo=UTC)
Row = TypeVar("Row")


@dataclass
class Caused:
    """What one run of a handler wanted to happen."""

    outcome: str = "applied"
    review: tuple[str, str] | None = None
    resolved: list[tuple[UUID, str]] = field(default_factory=list)
    emitted: list[tuple[str, Any]] = field(default_factory=list)
    published: list[tuple[str, Any]] = field(default_factory=list)
    tags: set[tuple[str, str]] = field(default_factory=set)
    result: Any = None

    def one(self, type_: str) -> Any:
        """The payload of the only event or message of this type."""
        (found,) = [payload for name, payload in [*self.emitted, *self.published] if name == type_]
        return found


@dataclass
class DeskContext:
    """Stands in for the hub's Context."""

    event: Event
    now: datetime
    settings: object
    options: Mapping[str, object]
    session: AsyncSession
    ledger: LedgerUnit
    caused: Caused
    store: Store

    def new_id(self) -> UUID:
        return uuid7(self.now.timestamp())

    async def emit(self, type_: str, payload: Any, *, key: str | None = None, **_: object) -> UUID:
        self.caused.emitted.append((type_, payload))
        return uuid7()

    async def publish(self, message: Any, *, routing_key: str = "", **_: object) -> str:
        self.caused.published.append((routing_key, message))
        return str(len(self.caused.published))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        async with self.store.reading() as conn, AsyncSession(bind=conn, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        async with self.ledger.savepoint(), self.session.begin_nested():
            yield

    def tag(self, name: str, value: str) -> None:
        self.caused.tags.add((name, value))

    def conclude(self, outcome: str) -> None:
        self.caused.outcome = outcome

    def review(self, outcome: str, reason: str) -> None:
        self.caused.outcome, self.caused.review = outcome, (outcome, reason)

    def resolve_review(self, event_id: UUID, note: str) -> None:
        self.caused.resolved.append((event_id, note))


class Desk:
    """A database and a clock that handlers run by."""

    def __init__(self, store: Store, settings: object) -> None:
        self.store = store
        self.settings = settings
        self.now = START
        self.verdict = Verdict.VALID
        """How the sender of the next event is proven; TRUSTED: it was fetched from the statement."""

    def later(self, **passed: float) -> None:
        self.now += timedelta(**passed)

    async def run(self, spec: HandlerSpec, payload: object, *, options: Mapping[str, object] | None = None) -> Caused:
        """Run the handler in a transaction of its own. What it raises leaves nothing behind."""

        async def work(conn: AsyncConnection) -> Caused:
            caused = Caused()
            book = Book(conn, now=self.now)
            async with AsyncSession(
                bind=conn, expire_on_commit=False, join_transaction_mode="create_savepoint"
            ) as session:
                event = self._event()
                ctx = DeskContext(
                    event, self.now, self.settings, options or {}, session, _unit(book, event), caused, self.store
                )
                model = spec.model
                first = event if model is None else model.model_validate(payload)
                caused.result = await spec.function(first, ctx)  # type: ignore[arg-type]
                await session.commit()
            await book.flush()
            return caused

        return await self.store.write(work)

    async def balance(self, account: Account) -> int:
        async def ask(conn: AsyncConnection) -> int:
            return (await Book(conn, now=self.now).balance(account)).amount_minor

        return await self.store.write(ask)

    async def rows(self, entity: type[Row]) -> list[Row]:
        async with self.store.reading() as conn, AsyncSession(bind=conn, expire_on_commit=False) as session:
            return list((await session.scalars(select(entity))).all())

    def _event(self) -> Event:
        return Event(
            id=uuid7(),
            source="test",
            type="test",
            key=None,
            dedupe_id=None,
            occurred_at=self.now,
            received_at=self.now,
            content_type="application/json",
            payload=b"{}",
            headers={},
            traceparent=new_traceparent(),
            verdict=self.verdict,
        )


def _unit(book: Book, event: Event) -> LedgerUnit:
    async def the_book() -> Book:
        return book

    return LedgerUnit(the_book, event.id, 1)


@asynccontextmanager
async def open_desk(database: str, folder: Path, settings: object, *tables: MetaData) -> AsyncIterator[Desk]:
    """A desk on a fresh database, ``sqlite`` or ``postgresql``, with these tables beside the hub's own."""
    if database == "sqlite":
        async with _prepared(f"sqlite+aiosqlite:///{folder / 'desk.db'}", *tables) as store:
            yield Desk(store, settings)
        return
    try:
        admin = await asyncpg.connect(POSTGRESQL.replace("+asyncpg", ""), timeout=5)
    except OSError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no PostgreSQL here")
    name = f"hub_desk_{uuid4().hex[:12]}"
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        async with _prepared(POSTGRESQL.rsplit("/", 1)[0] + f"/{name}", *tables) as store:
            yield Desk(store, settings)
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@asynccontextmanager
async def _prepared(url: str, *tables: MetaData) -> AsyncIterator[Store]:
    store = Store.open(url)
    async with store.writer.begin() as conn:
        for metadata in (hub_metadata, *tables):
            await conn.run_sync(metadata.create_all)
    try:
        yield store
    finally:
        await store.close()


def as_json(model: BaseModel) -> Any:
    """What a consumer would read."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
