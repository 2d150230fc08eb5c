"""The stage of a rehearsal: what a handler holds is real, except that nothing can leave and nothing stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NoReturn, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.calls.outcome import Outcome
from hub.calls.record import CallRecorder, Lookup, Step
from hub.clock import Clock
from hub.deliver.unit import BatchTransaction, UnitOfWork
from hub.errors import PermanentError
from hub.explain.curtain import plain_request
from hub.explain.model import ShownCall
from hub.ledger import Book
from hub.store.store import Dialect, Store, Work

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class StageStore(Store):
    """The store as a rehearsed handler sees it: it reads what the rehearsal has written, and writes nothing itself."""

    def __init__(self, conn: AsyncConnection) -> None:
        self._conn = conn
        self.dialect = cast(Dialect, conn.dialect.name)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """The rehearsal's own transaction."""
        yield self._conn

    async def write(self, work: Work[object], **how: object) -> NoReturn:
        """Refused: what is rehearsed has no transaction of its own."""
        raise PermanentError("a rehearsal writes nothing")

    async def close(self) -> None:
        """The connection belongs to the rehearsal."""


class CallReached(BaseException):
    """A handler has come to a call whose outcome is not known: the rehearsal ends here."""


class CallsShown(CallRecorder):
    """Answers steps that are decided from the record, and shows the first other one instead of sending it."""

    def __init__(self, store: StageStore, clock: Clock) -> None:
        super().__init__(store, None, clock)
        self.shown: list[ShownCall] = []

    async def run(self, step: Step) -> Outcome:
        """The outcome on record. Raises CallReached when there is none, and what the real recorder raises."""
        outcome = await super().run(step)
        self._show(step, 1, f"on record as {type(outcome).__name__.lower()}: not sent again")
        return outcome

    async def _send(self, step: Step, number: int) -> NoReturn:
        self._show(step, number, "would be sent; shown, not sent")
        raise CallReached

    async def _ask(self, step: Step, lookup: Lookup, number: int, started_at: datetime) -> NoReturn:
        self._show(step, number, "undecided on record: the provider would be asked about it; shown, not asked")
        raise CallReached

    def _show(self, step: Step, number: int, what: str) -> None:
        request = plain_request(step.request)
        self.shown.append(ShownCall(step.name, number, step.provider, step.key_of(number), what, request))


class CallingTransaction:
    """A calling handler's share of the rehearsal: closed until it is first touched, as the real one is."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._inner = BatchTransaction(unit)
        self._is_begun = False

    async def ledger(self) -> Book:
        self._is_begun = True
        return await self._inner.ledger()

    def session(self) -> AsyncSession:
        if not self._is_begun:
            raise PermanentError("await ctx.begin() before the first use of ctx.session in a calling handler")
        return self._inner.session()

    async def begin(self) -> None:
        self._is_begun = True
        await self._inner.begin()

    @property
    def is_open(self) -> bool:
        return self._is_begun

    async def keep(self) -> None:
        """Write what the session holds."""
        await self._inner.keep()

    async def drop(self) -> None:
        """Undo what the session did."""
        await self._inner.drop()

    def close(self) -> None:
        """Nothing may be done through this any more."""
        self._inner.close()
