"""Holds: money set aside, taken in parts or whole, or given back.

A hold moves its amount to the account's held account, which never goes below zero: so what is held cannot be spent, by
the same rule as any balance, and every step is an entry with postings. Whoever changes a hold has its held account
locked; the ``holds`` row says what is left, and the database accepts only what the hold's entries moved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger import hold_rows
from hub.ledger.errors import (
    CurrencyMismatchError,
    HoldClosedError,
    HoldExceededError,
    HoldNotDueError,
    InvalidEntryError,
    UnknownHoldError,
)
from hub.ledger.model import Account, Hold, HoldState, Move, PostedEntry
from hub.money import Money


class Poster(Protocol):
    """What the desk needs of the book."""

    def has(self, account: Account) -> bool: ...

    def id_of(self, account: Account) -> int: ...

    async def lock(self, accounts: Iterable[Account]) -> None: ...

    async def post_for_hold(self, entry: PostedEntry, hold: Hold) -> PostedEntry: ...


class HoldDesk:
    """The holds of one book. Its entries come without moves; the desk knows which they must be."""

    def __init__(self, book: Poster, conn: AsyncConnection, now: datetime) -> None:
        self._book = book
        self._conn = conn
        self._now = now
        self._holds: dict[str, Hold] = {}
        self._written: dict[str, Hold] = {}  # as the database has them; absent for new ones
        self._steps: list[tuple[Hold, Hold | None]] = []  # a hold and what it was before, None for nothing

    @property
    def steps(self) -> int:
        return len(self._steps)

    async def hold(self, account: Account, amount: Money, entry: PostedEntry, expires_at: datetime | None) -> Hold:
        if not account.running or account.is_held:
            raise InvalidEntryError(f"account {account.code} has no running balance of its own to hold from")
        if expires_at is not None and expires_at.tzinfo is None:
            raise InvalidEntryError("an expiry needs a time zone")
        hold = Hold(entry.reference, account, amount, self._now, expires_at)
        entry.moves = (_out_of(account, account.held, amount),)
        await self._book.post_for_hold(entry, hold)
        self._holds[hold.reference] = hold
        self._steps.append((hold, None))
        return hold

    async def capture(self, reference: str, entry: PostedEntry, to: Account, amount: Money | None) -> PostedEntry:
        hold = await self._open(reference)
        taken = hold.remaining if amount is None else amount
        if taken.currency != hold.amount.currency:
            raise CurrencyMismatchError(hold.account.code, expected=hold.amount.currency, found=taken.currency)
        if taken > hold.remaining:
            raise HoldExceededError(reference, remaining=hold.remaining, amount=taken)
        before = replace(hold)
        entry.moves = (_out_of(hold.account.held, to, taken),)
        await self._book.post_for_hold(entry, hold)
        self._steps.append((hold, before))
        hold.captured_minor += taken.amount_minor
        if not hold.remaining:
            hold.state, hold.closed_at = HoldState.CAPTURED, self._now
        return entry

    async def void(self, reference: str, entry: PostedEntry) -> PostedEntry:
        return await self._release(await self._open(reference), entry, HoldState.VOIDED)

    async def expire(self, reference: str, entry: PostedEntry) -> PostedEntry:
        hold = await self._open(reference)
        if hold.expires_at is None or hold.expires_at > self._now:
            raise HoldNotDueError(reference)
        return await self._release(hold, entry, HoldState.EXPIRED)

    async def _release(self, hold: Hold, entry: PostedEntry, state: HoldState) -> PostedEntry:
        before = replace(hold)
        entry.moves = (_out_of(hold.account.held, hold.account, hold.remaining),)
        await self._book.post_for_hold(entry, hold)
        self._steps.append((hold, before))
        hold.released_minor += hold.remaining.amount_minor
        hold.state, hold.closed_at = state, self._now
        return entry

    async def find(self, reference: str) -> Hold | None:
        if reference in self._holds:
            return self._holds[reference]
        hold = await hold_rows.find_hold(self._conn, reference)
        if hold is not None and not self._book.has(hold.account.held):
            await self._book.lock([hold.account, hold.account.held])
            # Another writer may have changed it before we had the lock; now nobody can.
            hold = await hold_rows.find_hold(self._conn, reference)
        if hold is not None:
            self._holds[reference] = hold
            self._written[reference] = replace(hold)
        return hold

    async def _open(self, reference: str) -> Hold:
        hold = await self.find(reference)
        if hold is None:
            raise UnknownHoldError(reference)
        if hold.state is not HoldState.OPEN:
            raise HoldClosedError(reference, hold.state)
        return hold

    def undo_to(self, steps: int) -> None:
        while len(self._steps) > steps:
            hold, before = self._steps.pop()
            if before is None:
                del self._holds[hold.reference]
            else:
                hold.captured_minor, hold.released_minor = before.captured_minor, before.released_minor
                hold.state, hold.closed_at = before.state, before.closed_at

    def number(self, hold: Hold, entry: PostedEntry) -> None:
        """Give the hold the id of its first entry, and the entry the id of its hold."""
        hold.id = hold.id or entry.id
        entry.hold_id = hold.id
        hold.last_entry_id = entry.id

    async def flush(self) -> None:
        """Write the holds that changed, after their entries. Raises HoldClosedError."""
        if not self._steps:
            return
        new = [hold for hold in self._holds.values() if hold.reference not in self._written]
        if new:
            ids = ((hold, self._book.id_of(hold.account), self._book.id_of(hold.account.held)) for hold in new)
            await hold_rows.insert_holds(self._conn, list(ids))
        changes = [change for hold in self._holds.values() if (change := self._change(hold))]
        if changes and await hold_rows.change_holds(self._conn, changes) != len(changes):
            raise HoldClosedError(self._steps[0][0].reference, "closed, or less is left, by another writer")
        self._written = {reference: replace(hold) for reference, hold in self._holds.items()}
        self._steps.clear()

    def _change(self, hold: Hold) -> hold_rows.HoldChange | None:
        written = self._written.get(hold.reference)
        captured = hold.captured_minor - (written.captured_minor if written else 0)
        released = hold.released_minor - (written.released_minor if written else 0)
        if not captured and not released:
            return None
        return hold_rows.HoldChange(
            id=hold.id,
            captured=captured,
            released=released,
            state=str(hold.state),
            last_entry_id=hold.last_entry_id,
            closed_at=hold.closed_at,
        )


def _out_of(source: Account, target: Account, amount: Money) -> Move:
    """The move that lowers ``source``, whichever side the target has."""
    return Move(source, target, amount) if source.side == "credit" else Move(target, source, amount)
