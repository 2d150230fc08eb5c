"""Posting inside one database transaction: in memory first, in order; then written as sets.

A book belongs to one transaction and one task. Balances are locked when their account is first touched, computed in
memory as entries are posted, and refused at once when an account would fall below zero; ``flush`` writes everything.
Source: docs/guarantees.md, G5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID
from weakref import proxy

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger import account_rows, entry_rows, hold_rows
from hub.ledger.errors import (
    AlreadyReversedError,
    DuplicateReferenceError,
    InsufficientFundsError,
    InvalidEntryError,
    LedgerError,
    UnknownEntryError,
)
from hub.ledger.history import corrections_of, entry_refused, find_entry, is_correction, lock_entry
from hub.ledger.holds import HoldDesk
from hub.ledger.model import Account, Hold, Mark, Move, PostedEntry
from hub.ledger.pending import Pending, check_entry, check_same, opposite
from hub.ledger.tables import slots_of
from hub.money import MONEY_MINOR_MAX, Money
from hub.store.sequences import Wanted, draw


class Book:
    """The entries of one transaction.

    ``slot`` spreads the balances of accounts that are not running over the workers, each its own (any number will do).
    After an error of ``flush`` the transaction must be rolled back and the book thrown away.
    """

    def __init__(self, conn: AsyncConnection, *, now: datetime, slot: int = 0) -> None:
        self._conn = conn
        self._now = now
        self._slot = slot % slots_of(conn.dialect.name)
        self._asked: dict[str, Account] = {}
        self._known: dict[str, account_rows.Known] = {}
        self._pending: list[Pending] = []
        self._by_reference: dict[str, Pending] = {}
        self._old_balances: list[tuple[account_rows.Known, int]] = []
        self._flushes = 0
        self._is_broken = False
        # Weakly, so that a batch's accounts and entries go with it, and not when the collector comes by.
        self._desk = HoldDesk(proxy(self), conn, now)

    @property
    def touched(self) -> tuple[Account, ...]:
        """Every account asked for so far: lock these first when a deadlock makes the transaction run again."""
        return tuple(self._asked.values())

    @property
    def pending(self) -> tuple[PostedEntry, ...]:
        """What is posted and not yet flushed, in order."""
        return tuple(pending.entry for pending in self._pending)

    async def lock(self, accounts: Iterable[Account], *, glance: Iterable[Account] = ()) -> None:
        """Open the accounts that are not there yet and lock the running balances, in the order of their codes.

        Where that needs a look, accounts to ``glance`` at, without a running balance, are known by it as well.
        Raises AccountMismatchError where a code is known with another definition.
        """
        assert not self._is_broken, "the flush failed: roll back and begin a new book"
        wanted: dict[str, Account] = {}
        for account in accounts:
            known = self._known.get(account.code)
            check_same(wanted.setdefault(account.code, account) if known is None else known.account, account)
        if not wanted:
            return
        missing = [account for _, account in sorted(wanted.items())]
        # Before the wait for their locks, in which a deadlock may end this transaction.
        self._asked |= wanted
        aside = {one.code: one for one in glance if one.code not in wanted and one.code not in self._known}
        await self._load(missing, [one for one in aside.values() if not one.running])
        for account in missing:
            check_same(self._known[account.code].account, account)

    def has(self, account: Account) -> bool:
        """This book knows the account already, and has its running balance locked."""
        return account.code in self._known

    async def balance(self, account: Account) -> Money:
        """The balance with everything this book has posted; a running account is locked by asking."""
        await self.lock([account])
        known = self._known[account.code]
        if known.balance is not None:
            return Money(known.balance, account.currency)
        pending = sum(
            posting.delta.amount_minor
            for entry in self.pending
            for posting in entry.postings
            if posting.account == account.code
        )
        return Money(await account_rows.summed_balance(self._conn, known.id) + pending, account.currency)

    async def post(
        self,
        *,
        reference: str,
        kind: str,
        moves: Sequence[Move],
        event_id: UUID | None = None,
        delivery_id: int | None = None,
        reverses: int | None = None,
        note: str = "",
        data: Mapping[str, object] | None = None,
    ) -> PostedEntry:
        """Post an entry under a business reference that is unique for ever; nothing is written before ``flush``.

        ``reverses`` is the id of an older entry of which this one gives back a part (``reverse`` gives back all).
        Raises InsufficientFundsError, DuplicateReferenceError (of this book; those of the past at ``flush``),
        InvalidEntryError, UnknownEntryError. The entry has then left no trace.
        """
        for move in moves:
            if move.debit.is_held or move.credit.is_held:
                raise InvalidEntryError("held money moves only through its hold")
        if reverses is not None:
            is_reversed = any(p.reverses_fully and p.entry.reverses == reverses for p in self._pending)
            if (await lock_entry(self._conn, reverses)).is_full or is_reversed:
                raise AlreadyReversedError(str(reverses))
        entry = PostedEntry(
            reference, kind, tuple(moves), (), self._now, event_id, delivery_id, reverses, None, note, data
        )
        return await self._post(Pending(entry))

    async def reverse(
        self,
        reversed_reference: str,
        *,
        reference: str,
        kind: str = "reversal",
        event_id: UUID | None = None,
        delivery_id: int | None = None,
        note: str = "",
        data: Mapping[str, object] | None = None,
    ) -> PostedEntry:
        """Post the opposite of a whole entry, linked to it, with what has corrected it since.

        What a capture took goes back to the account, not the hold. Raises UnknownEntryError, AlreadyReversedError
        (also after a part was given back), InvalidEntryError for a correction, and what ``post`` raises.
        """
        original = self._by_reference.get(reversed_reference)
        old = original.entry if original else await find_entry(self._conn, reversed_reference)
        if old is None:
            raise UnknownEntryError(reversed_reference)
        if is_correction(old):
            raise InvalidEntryError(f"{reversed_reference!r} is a correction: reverse the entry that it corrects")
        if old.id and (await lock_entry(self._conn, old.id)).count:
            raise AlreadyReversedError(reversed_reference)
        if any(pending.reverses is old or (old.id and pending.entry.reverses == old.id) for pending in self._pending):
            raise AlreadyReversedError(reversed_reference)
        hold = original.hold.account if original and original.hold else None
        if hold is None and old.hold_id is not None:
            hold = await hold_rows.holder(self._conn, old.hold_id)
        # Without its corrections, the accounts would be left with the difference. The latest goes first.
        corrections = await corrections_of(self._conn, old) if old.id else []
        moves = tuple(move for one in (*corrections, old) for move in opposite(one, hold))
        entry = PostedEntry(
            reference, kind, moves, (), self._now, event_id, delivery_id, old.id or None, None, note, data
        )
        return await self._post(Pending(entry, reverses=old, reverses_fully=True))

    async def hold(
        self,
        account: Account,
        amount: Money,
        *,
        reference: str,
        kind: str = "hold",
        expires_at: datetime | None = None,
        event_id: UUID | None = None,
        delivery_id: int | None = None,
        note: str = "",
        data: Mapping[str, object] | None = None,
    ) -> Hold:
        """Set money aside: it leaves the running ``account`` for its held account until captured, voided or expired.

        ``reference`` names the hold from now on, and is the reference of its entry. Raises what ``post`` raises.
        """
        return await self._desk.hold(
            account,
            amount,
            PostedEntry(reference, kind, (), (), self._now, event_id, delivery_id, None, None, note, data),
            expires_at,
        )

    async def capture(
        self,
        hold_reference: str,
        *,
        reference: str,
        to: Account,
        amount: Money | None = None,
        kind: str = "capture",
        event_id: UUID | None = None,
        delivery_id: int | None = None,
        note: str = "",
        data: Mapping[str, object] | None = None,
    ) -> PostedEntry:
        """Take what was held, all that remains unless ``amount`` says less; the rest stays held.

        Raises UnknownHoldError, HoldClosedError, HoldExceededError, and what ``post`` raises.
        """
        entry = PostedEntry(reference, kind, (), (), self._now, event_id, delivery_id, None, None, note, data)
        return await self._desk.capture(hold_reference, entry, to, amount)

    async def void(
        self,
        hold_reference: str,
        *,
        reference: str | None = None,
        kind: str = "void",
        event_id: UUID | None = None,
        delivery_id: int | None = None,
        note: str = "",
        data: Mapping[str, object] | None = None,
    ) -> PostedEntry:
        """Give back what remains of a hold; ``reference`` is ``<hold>#void`` by default.

        Raises UnknownHoldError, HoldClosedError, and what ``post`` raises.
        """
        name = reference if reference is not None else f"{hold_reference}#void"
        entry = PostedEntry(name, kind, (), (), self._now, event_id, delivery_id, None, None, note, data)
        return await self._desk.void(hold_reference, entry)

    async def expire(
        self, hold_reference: str, *, event_id: UUID | None = None, delivery_id: int | None = None
    ) -> PostedEntry:
        """Give back what remains of a hold whose expiry has come, under the reference ``<hold>#expire``.

        Raises UnknownHoldError, HoldClosedError, HoldNotDueError.
        """
        name = f"{hold_reference}#expire"
        entry = PostedEntry(name, "expire", (), (), self._now, event_id, delivery_id)
        return await self._desk.expire(hold_reference, entry)

    async def find_hold(self, reference: str) -> Hold | None:
        """The hold as it is with everything this book has done; its held account is locked by asking."""
        return await self._desk.find(reference)

    async def find(self, reference: str) -> PostedEntry | None:
        """The entry with this reference, posted in this book or before."""
        pending = self._by_reference.get(reference)
        return pending.entry if pending else await find_entry(self._conn, reference)

    async def post_for_hold(self, entry: PostedEntry, hold: Hold) -> PostedEntry:
        """Post an entry that belongs to a hold; for the hold desk alone."""
        return await self._post(Pending(entry, hold=hold))

    async def _post(self, pending: Pending) -> PostedEntry:
        entry = pending.entry
        check_entry(entry)
        if entry.reference in self._by_reference:
            raise DuplicateReferenceError(entry.reference)
        await self.lock([account for move in entry.moves for account in (move.debit, move.credit)])
        balances, afters = len(self._old_balances), []
        try:
            for move in entry.moves:
                debit_after = self._change(move.debit, move.amount, raises=move.debit.side == "debit")
                credit_after = self._change(move.credit, move.amount, raises=move.credit.side == "credit")
                afters.append((debit_after, credit_after))
        except LedgerError:
            self._undo_balances_to(balances)
            raise
        entry.afters = tuple(afters)
        self._pending.append(pending)
        self._by_reference[entry.reference] = pending
        return entry

    def _change(self, account: Account, amount: Money, *, raises: bool) -> int | None:
        known = self._known[account.code]
        if known.balance is None:
            return None
        after = known.balance + amount.amount_minor if raises else known.balance - amount.amount_minor
        if after < 0 and not account.may_go_negative:
            raise InsufficientFundsError(account.code, balance=Money(known.balance, account.currency), amount=amount)
        if abs(after) > MONEY_MINOR_MAX:
            raise InvalidEntryError(f"the balance of account {account.code} would be out of bounds")
        self._old_balances.append((known, known.balance))
        known.balance = after
        return after

    def mark(self) -> Mark:
        """A place to go back to with ``undo_to``; good until the next ``flush``."""
        return Mark(self._flushes, len(self._pending), len(self._old_balances), self._desk.steps, len(self._known))

    def undo_to(self, mark: Mark, *, rolled_back: bool = False) -> None:
        """Forget everything posted since ``mark``.

        Accounts opened and locked meanwhile stay so, unless a savepoint was ``rolled_back``: it took their rows and
        locks with it, so they are read again when they are touched again.
        """
        assert mark.flushes == self._flushes, "what is flushed is undone by rolling back"
        for pending in self._pending[mark.entries :]:
            del self._by_reference[pending.entry.reference]
        del self._pending[mark.entries :]
        self._undo_balances_to(mark.balances)
        self._desk.undo_to(mark.holds)
        if rolled_back:
            for code in list(self._known)[mark.known :]:
                del self._known[code]

    def _undo_balances_to(self, count: int) -> None:
        while len(self._old_balances) > count:
            known, balance = self._old_balances.pop()
            known.balance = balance

    async def _load(self, accounts: Sequence[Account], glance: Sequence[Account]) -> None:
        for known in await account_rows.touch(self._conn, accounts, self._now, glance=glance):
            self._known[known.account.code] = known

    def id_of(self, account: Account) -> int:
        """The number of an account that this book knows."""
        return self._known[account.code].id

    async def flush(self, *, also: Wanted | None = None) -> list[int]:
        """Write what is posted. Entries get their ids.

        Answers rising numbers of ``also``, which are drawn with those of the entries.
        Raises DuplicateReferenceError, AlreadyReversedError or RefusedByDatabaseError when the database refuses;
        nothing of the transaction can be kept then.
        """
        assert not self._is_broken, "the flush failed: roll back and begin a new book"
        if not self._pending:
            return await draw(self._conn, *also) if also is not None and also.how_many else []
        self._is_broken = True
        written, numbers = await self._numbered(also)
        try:
            await entry_rows.insert_entries(self._conn, written, self._now)
            await self._desk.flush()
        except IntegrityError as error:
            raise await entry_refused(self._conn, error, written) from error
        self._is_broken = False
        self._flushes += 1
        self._pending.clear()
        self._by_reference.clear()
        self._old_balances.clear()
        return numbers

    async def _numbered(self, also: Wanted | None) -> tuple[list[entry_rows.EntryRow], list[int]]:
        moves = [move for pending in self._pending for move in pending.entry.moves]
        summed = {
            self._known[account.code].id
            for move in moves
            for account in (move.debit, move.credit)
            if not account.running
        }
        # Every balance that these moves touch is locked when they are drawn, so ids grow along each of them.
        entry_ids, ids, numbers = await account_rows.draw_numbers(
            self._conn, list(summed), self._slot, entries=len(self._pending), moves=len(moves), also=also
        )
        move_ids = iter(ids)
        written = []
        for entry_id, pending in zip(entry_ids, self._pending, strict=True):
            entry = pending.entry
            entry.id = entry_id
            if pending.reverses is not None:
                entry.reverses = pending.reverses.id
            if pending.hold is not None:
                self._desk.number(pending.hold, entry)
            written.append(entry_rows.EntryRow(entry, pending.reverses_fully, self._move_rows(entry, move_ids)))
        return written, numbers

    def _move_rows(self, entry: PostedEntry, move_ids: Iterable[int]) -> list[tuple[object, ...]]:
        return [
            (
                move_id,
                entry.id,
                position,
                self._known[move.debit.code].id,
                0 if move.debit.running else self._slot,
                debit_after,
                self._known[move.credit.code].id,
                0 if move.credit.running else self._slot,
                credit_after,
                move.amount.amount_minor,
                move.amount.currency,
            )
            for position, (move, (debit_after, credit_after), move_id) in enumerate(
                zip(entry.moves, entry.afters, move_ids, strict=False), start=1
            )
        ]
