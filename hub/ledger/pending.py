"""Entries that a book has posted and not yet written, and what can be said of an entry without the database."""

from __future__ import annotations

from dataclasses import dataclass

from hub.ledger.errors import AccountMismatchError, InvalidEntryError
from hub.ledger.model import REFERENCE_MAX, Account, Hold, Move, PostedEntry
from hub.ledger.tables import KIND_MAX, MOVES_PER_ENTRY_MAX


@dataclass(slots=True)
class Pending:
    """One entry on its way."""

    entry: PostedEntry
    # The entry that this one reverses may be in this book too, without an id yet; the same goes for a hold.
    reverses: PostedEntry | None = None
    reverses_fully: bool = False
    hold: Hold | None = None


def opposite(old: PostedEntry, holder: Account | None) -> tuple[Move, ...]:
    """The moves that take an entry back; held accounts stand for the ``holder``, whose hold stays as it is."""

    def real(account: Account) -> Account:
        return holder if account.is_held and holder is not None else account

    # Backwards, so that money which went on from an account is there again before it leaves that account.
    backwards = [(real(move.credit), real(move.debit), move.amount) for move in reversed(old.moves)]
    if any(debit == credit for debit, credit, _ in backwards):
        raise InvalidEntryError(f"{old.reference!r} only set money aside or gave it back: void the hold instead")
    return tuple(Move(debit, credit, amount) for debit, credit, amount in backwards)


def check_same(known: Account, asked: Account) -> None:
    """Raises AccountMismatchError where one code stands for two definitions."""
    if known is not asked and known != asked:
        raise AccountMismatchError(asked.code, expected=known.definition, found=asked.definition)


def check_entry(entry: PostedEntry) -> None:
    """Raises InvalidEntryError for what no entry may be."""
    if not 0 < len(entry.reference) <= REFERENCE_MAX or not 0 < len(entry.kind) <= KIND_MAX:
        raise InvalidEntryError(f"an entry needs a reference of 1 to {REFERENCE_MAX} characters and a kind")
    if not 0 < len(entry.moves) <= MOVES_PER_ENTRY_MAX:
        raise InvalidEntryError(f"an entry has 1 to {MOVES_PER_ENTRY_MAX} moves, found {len(entry.moves)}")
