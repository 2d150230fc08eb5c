"""The books as one delivery sees them: every entry it posts carries its event and its delivery."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypedDict
from uuid import UUID

from hub.ledger import Account, Book, Hold, Move, PostedEntry
from hub.money import Money


class _Origin(TypedDict):
    event_id: UUID
    delivery_id: int


class LedgerUnit:
    """Posts to the book of the transaction that the delivery runs in. Errors: ``hub/ledger/errors.py``."""

    def __init__(self, book: Callable[[], Awaitable[Book]], event_id: UUID, delivery_id: int) -> None:
        self._book = book
        self._origin = _Origin(event_id=event_id, delivery_id=delivery_id)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Forget what is posted inside when it raises; the caller rolls a savepoint of the database back."""
        book = await self._book()
        mark = book.mark()
        try:
            yield
        except BaseException:
            book.undo_to(mark, rolled_back=True)
            raise

    async def balance(self, account: Account) -> Money:
        """The running balance, locked until the transaction ends; includes what this delivery has posted."""
        return await (await self._book()).balance(account)

    async def find(self, reference: str) -> PostedEntry | None:
        """The entry with this business reference."""
        return await (await self._book()).find(reference)

    async def post(
        self,
        reference: str,
        kind: str,
        moves: Sequence[Move],
        *,
        note: str = "",
        data: Mapping[str, object] | None = None,
    ) -> PostedEntry:
        """One entry: it is posted as a whole, once per ``reference``, for ever."""
        book = await self._book()
        return await book.post(
            reference=reference,
            kind=kind,
            moves=moves,
            note=note,
            data=data,
            **self._origin,
        )

    async def reverse(self, original: str, *, reference: str, note: str = "") -> PostedEntry:
        """A new entry that undoes the one called ``original`` and names it."""
        book = await self._book()
        return await book.reverse(original, reference=reference, note=note, **self._origin)

    async def hold(
        self, account: Account, amount: Money, *, reference: str, expires_at: datetime | None = None
    ) -> Hold:
        """Set money of ``account`` aside until it is captured, voided or expired."""
        book = await self._book()
        return await book.hold(account, amount, reference=reference, expires_at=expires_at, **self._origin)

    async def find_hold(self, reference: str) -> Hold | None:
        """The hold of this reference, locked."""
        return await (await self._book()).find_hold(reference)

    async def capture(
        self, hold: str, *, reference: str, to: Account, amount: Money | None = None, note: str = ""
    ) -> PostedEntry:
        """Take what a hold has set aside, all that remains unless ``amount`` says less."""
        book = await self._book()
        return await book.capture(hold, reference=reference, to=to, amount=amount, note=note, **self._origin)

    async def void(self, hold: str, *, reference: str | None = None, note: str = "") -> PostedEntry:
        """Give back what is left in a hold."""
        book = await self._book()
        return await book.void(hold, reference=reference, note=note, **self._origin)

    async def expire(self, hold: str) -> PostedEntry:
        """Give back what is left in a hold whose time is over."""
        return await (await self._book()).expire(hold, **self._origin)
