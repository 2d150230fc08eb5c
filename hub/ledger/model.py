"""The words of the books: accounts, moves, entries with their postings, holds.

An *entry* is one business fact under a unique reference. It is stored as *moves*, each from one account to another, so
it sums to zero by construction; a *posting* is one side of a move, seen from its account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias
from uuid import UUID

from hub.ledger.errors import CurrencyMismatchError, InvalidEntryError
from hub.money import AMOUNT_MINOR_MAX, Money, scale_of

Side: TypeAlias = Literal["debit", "credit"]

ACCOUNT_CODE_MAX = 200
REFERENCE_MAX = 300
HELD_SUFFIX = "#held"

_CODE = re.compile(rf"[^\s#\x00-\x1f\x7f-\x9f]+({HELD_SUFFIX})?")


@dataclass(frozen=True, slots=True)
class Account:
    """One account, created when it is first touched; its definition never changes.

    ``side`` is the side that raises its balance: debit for what we have (bank, receivables), credit for what we owe or
    earn (wallets, sales). ``running`` accounts know their balance before and after every posting and stay at zero or
    above unless ``may_go_negative``; the others (clearing, sales) are summed on read and have no floor, so that a
    system account is no hot row. Raises InvalidEntryError for a code that is empty, longer than ``ACCOUNT_CODE_MAX``
    or holds white space, control characters or ``#``; MoneyError for an unknown currency.
    """

    code: str
    currency: str
    side: Side
    running: bool = True
    may_go_negative: bool = False

    def __post_init__(self) -> None:
        if len(self.code) > ACCOUNT_CODE_MAX or not _CODE.fullmatch(self.code):
            raise InvalidEntryError(f"{self.code[:60]!r} cannot be the code of an account")
        if self.side not in ("debit", "credit"):
            raise InvalidEntryError(f"account {self.code}: side is debit or credit, found {self.side!r}")
        scale_of(self.currency)
        if not self.running:
            object.__setattr__(self, "may_go_negative", True)

    @property
    def held(self) -> Account:
        """Where holds of this account wait: money there is neither free nor gone."""
        return Account(self.code + HELD_SUFFIX, self.currency, self.side)

    @property
    def is_held(self) -> bool:
        return self.code.endswith(HELD_SUFFIX)

    @property
    def definition(self) -> str:
        """For error messages: everything but the code."""
        kind = "running" if self.running else "summed"
        floor = "may go negative" if self.may_go_negative else "not below zero"
        return f"{self.currency} {self.side} {kind}, {floor}"


@dataclass(frozen=True, slots=True)
class Move:
    """An amount that goes from one account to another: it is debited here and credited there.

    Raises InvalidEntryError for an amount that is not from 1 to ``AMOUNT_MINOR_MAX`` or one account on both sides,
    CurrencyMismatchError where the three currencies differ.
    """

    debit: Account
    credit: Account
    amount: Money

    def __post_init__(self) -> None:
        if not 0 < self.amount.amount_minor <= AMOUNT_MINOR_MAX:
            raise InvalidEntryError(f"a move carries from 1 to {AMOUNT_MINOR_MAX} minor units, found {self.amount}")
        if self.debit.code == self.credit.code:
            raise InvalidEntryError(f"account {self.debit.code} is on both sides of a move")
        for account in (self.debit, self.credit):
            if account.currency != self.amount.currency:
                raise CurrencyMismatchError(account.code, expected=account.currency, found=self.amount.currency)


def transfer(source: Account, target: Account, amount: Money) -> Move:
    """The move that lowers ``source`` and raises ``target``.

    Both must have the same normal side; between the two sides money does not move from one to the other, it grows or
    shrinks on both: write the ``Move`` out then.
    """
    if source.side != target.side:
        raise InvalidEntryError(f"{source.code} and {target.code} have different sides: say debit and credit")
    return Move(source, target, amount) if source.side == "credit" else Move(target, source, amount)


@dataclass(frozen=True, slots=True)
class Posting:
    """One side of a move. ``delta`` is in the account's own direction: positive raises its balance.

    ``before`` and ``after`` are None for an account without a running balance.
    """

    account: str
    side: Side
    amount: Money
    delta: Money
    before: Money | None
    after: Money | None


@dataclass(slots=True)
class PostedEntry:
    """An entry as posted. ``id`` is 0 until the book is flushed; ``afters`` has one pair (debit, credit) per move."""

    reference: str
    kind: str
    moves: tuple[Move, ...]
    afters: tuple[tuple[int | None, int | None], ...]
    posted_at: datetime
    event_id: UUID | None = None
    delivery_id: int | None = None
    reverses: int | None = None
    hold_id: int | None = None
    note: str = ""
    data: Mapping[str, object] | None = None
    id: int = 0

    @property
    def postings(self) -> tuple[Posting, ...]:
        """Two for each move, the debit first."""
        return tuple(
            _posting(account, side, move.amount, after)
            for move, (debit_after, credit_after) in zip(self.moves, self.afters, strict=True)
            for account, side, after in (
                (move.debit, _DEBIT, debit_after),
                (move.credit, _CREDIT, credit_after),
            )
        )

    def posting_of(self, account: Account | str) -> Posting:
        """The last posting of this account in the entry. Raises KeyError when it has none."""
        code = account if isinstance(account, str) else account.code
        for posting in reversed(self.postings):
            if posting.account == code:
                return posting
        raise KeyError(code)


_DEBIT: Side = "debit"
_CREDIT: Side = "credit"


def _posting(account: Account, side: Side, amount: Money, after: int | None) -> Posting:
    delta = amount if account.side == side else -amount
    if after is None:
        return Posting(account.code, side, amount, delta, None, None)
    balance = Money(after, amount.currency)
    return Posting(account.code, side, amount, delta, balance - delta, balance)


class HoldState(StrEnum):
    OPEN = "open"
    CAPTURED = "captured"
    VOIDED = "voided"
    EXPIRED = "expired"


@dataclass(slots=True)
class Hold:
    """Money set aside: ``amount = captured + released + remaining``. ``id`` is 0 until the book is flushed.

    ``expires_at`` decides nothing by itself: a hold stays open, and can be captured, until ``expire`` closes it.
    """

    reference: str
    account: Account
    amount: Money
    opened_at: datetime
    expires_at: datetime | None = None
    captured_minor: int = 0
    released_minor: int = 0
    state: HoldState = HoldState.OPEN
    closed_at: datetime | None = None
    id: int = 0
    last_entry_id: int = 0

    @property
    def remaining(self) -> Money:
        return Money(self.amount.amount_minor - self.captured_minor - self.released_minor, self.amount.currency)

    @property
    def captured(self) -> Money:
        return Money(self.captured_minor, self.amount.currency)


# Not frozen, which would take several times as long to make: there is one for each delivery, and nobody changes it.
@dataclass(slots=True)
class Mark:
    """A place in a book to go back to."""

    flushes: int
    entries: int
    balances: int
    holds: int = 0
    known: int = 0
