"""What the books refuse. Nothing was posted when one of these is raised.

LedgerError
├── InsufficientFundsError    the account would fall below zero: a business answer, for the handler to decide on
├── DuplicateReferenceError   this business reference has been posted before
├── InvalidEntryError         the entry is not one: no moves, amount not positive, one account on both sides, …
│   ├── CurrencyMismatchError    an account of one currency, an amount of another
│   └── AccountMismatchError     the code is known with another currency, side or rule
├── UnknownEntryError         no entry has this reference
├── AlreadyReversedError      the entry was reversed or partly given back before
├── HoldError
│   ├── UnknownHoldError      no hold has this reference
│   ├── HoldClosedError       captured, voided or expired: nothing is left in it
│   ├── HoldExceededError     a capture above what is left
│   └── HoldNotDueError       it has no expiry, or that instant has not come
└── RefusedByDatabaseError    a constraint of the database said no: our mistake, or another writer's
"""

from __future__ import annotations

from hub.errors import HubError
from hub.money import Money


class LedgerError(HubError):
    """The books refuse it; nothing was posted."""


class InsufficientFundsError(LedgerError):
    """``account`` has ``balance`` and may not go below zero, so ``amount`` cannot leave it."""

    def __init__(self, account: str, *, balance: Money, amount: Money) -> None:
        super().__init__(f"account {account} has {balance}, not enough for {amount}")
        self.account = account
        self.balance = balance
        self.amount = amount


class DuplicateReferenceError(LedgerError):
    """An entry with this business reference has been posted before; ``reference`` is empty when it is not known."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"the reference {reference!r} has been posted before")
        self.reference = reference


class InvalidEntryError(LedgerError):
    """The entry is not one; the text says why."""


class CurrencyMismatchError(InvalidEntryError):
    """An account of one currency was to receive an amount of another."""

    def __init__(self, account: str, *, expected: str, found: str) -> None:
        super().__init__(f"account {account} is kept in {expected}, found {found}")
        self.account = account
        self.expected = expected
        self.found = found


class AccountMismatchError(InvalidEntryError):
    """The account's code is known with another definition; a definition never changes."""

    def __init__(self, account: str, *, expected: str, found: str) -> None:
        super().__init__(f"account {account} is defined as {expected}, found {found}")
        self.account = account


class UnknownEntryError(LedgerError):
    """No entry has this reference."""

    def __init__(self, reference: str | int) -> None:
        super().__init__(f"no entry {reference!r}")
        self.reference = reference


class AlreadyReversedError(LedgerError):
    """The entry has been reversed, or partly given back, so it cannot be reversed as a whole, or corrected."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"the entry {reference!r} has been reversed before, in whole or in part")
        self.reference = reference


class HoldError(LedgerError):
    """The hold ``reference`` cannot do this."""

    def __init__(self, reference: str, problem: str) -> None:
        super().__init__(f"hold {reference!r}: {problem}")
        self.reference = reference


class UnknownHoldError(HoldError):
    """No hold has this reference."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference, "there is none")


class HoldClosedError(HoldError):
    """The hold was captured, voided or expired; ``state`` says which."""

    def __init__(self, reference: str, state: str) -> None:
        super().__init__(reference, f"it is {state}")
        self.state = state


class HoldExceededError(HoldError):
    """The capture is larger than what is left in the hold."""

    def __init__(self, reference: str, *, remaining: Money, amount: Money) -> None:
        super().__init__(reference, f"{remaining} are left, not {amount}")
        self.remaining = remaining
        self.amount = amount


class HoldNotDueError(HoldError):
    """The hold has no expiry, or that instant has not come."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference, "its expiry has not come")


class RefusedByDatabaseError(LedgerError):
    """A constraint of the database refused the entries; the transaction must be rolled back."""
