"""The words for where a payment is, what is to be done, and what a person must look at.

``payment_states.py`` uses them. Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

READS_MIN: Final = 5
READS_FOR: Final = timedelta(seconds=60)
"""So many reads over so long, before PayPay's not knowing a payment, or its silence, counts."""
ABSENT_IN_A_ROW: Final = 2
SALES: Final = "sales"
SUSPENSE: Final = "suspense"
"""Where the money of a payment is in the books."""


class PaymentStatus(StrEnum):
    """Where a payment is."""

    NEW = "NEW"
    UNKNOWN = "UNKNOWN"
    CREATED = "CREATED"
    AUTHORIZED = "AUTHORIZED"
    COMPLETED = "COMPLETED"
    CANCELING = "CANCELING"
    CANCEL_ACCEPTED = "CANCEL_ACCEPTED"
    REFUND_NEEDED = "REFUND_NEEDED"
    REFUND_ACCEPTED = "REFUND_ACCEPTED"
    REFUND_UNKNOWN = "REFUND_UNKNOWN"
    MANUAL = "MANUAL"
    REFUNDED = "REFUNDED"
    CANCELED = "CANCELED"
    CANCELLED_BY_US = "CANCELLED_BY_US"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"

    @property
    def is_final(self) -> bool:
        return self in FINAL

    @property
    def is_paid(self) -> bool:
        """Whether the money is ours, or was until it was refunded."""
        return self in PAID


S: Final = PaymentStatus
FINAL: Final = frozenset({S.REFUNDED, S.CANCELED, S.CANCELLED_BY_US, S.EXPIRED, S.FAILED, S.REJECTED})
UNPAID: Final = FINAL - {S.REFUNDED}
PAID: Final = frozenset({S.COMPLETED, S.REFUND_ACCEPTED, S.REFUND_UNKNOWN, S.REFUNDED})


class Act(StrEnum):
    """What is to be done because of a step."""

    BOOK = "book"
    HOLD = "hold"
    """The money is there, and is not to be: it is kept in suspense, and nobody is told that it was paid."""
    BOOK_REFUND = "book_refund"
    POLL = "poll"
    LOOK = "look"
    DELETE_CODE = "delete_code"
    CANCEL = "cancel"
    REVERT = "revert"
    CAPTURE_AGAIN = "capture_again"
    REVERT_AGAIN = "revert_again"
    REFUND = "refund"
    REFUND_LOOK = "refund_look"
    REFUND_SAME = "refund_same"
    REFUND_AGAIN = "refund_again"
    PERSON = "person"


class Trouble(StrEnum):
    """What a person must look at; each is one review of its own."""

    REFUSED_STRANGELY = "payment_refused_strangely"
    TAKEN_AFTER_END = "payment_taken_after_end"
    AUTHORIZED_AFTER_END = "payment_authorized_after_end"
    CONTRADICTION = "payment_contradiction"
    AMOUNT_DIFFERS = "payment_amount_differs"
    AMOUNT_UNREAD = "payment_amount_unread"
    NOT_THERE = "payment_not_there"
    UNDECIDED = "payment_undecided"
    CODE_STAYS_ON = "payment_code_stays_on"
    CAPTURE_REFUSED = "capture_refused"
    CAPTURE_UNCONFIRMED = "capture_unconfirmed"
    REVERT_REFUSED = "revert_refused"
    REFUND_REFUSED = "refund_refused"
    REFUND_UNDECIDED = "refund_undecided"


@dataclass(frozen=True, slots=True)
class Step:
    """The next state, and what is to be done; ``trouble`` says why a person is asked."""

    status: PaymentStatus
    acts: tuple[Act, ...] = ()
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The reads of a payment since it became unknown, was cancelled or its code was deleted, this one included."""

    count: int
    absent_in_a_row: int
    since: timedelta
    unpaid_in_a_row: int = 0
    """Those that found nobody's money: not known, or not paid yet. One that cannot be read says nothing."""

    @property
    def are_enough(self) -> bool:
        return self.count >= READS_MIN and self.since >= READS_FOR

    @property
    def prove_absence(self) -> bool:
        return self.are_enough and self.absent_in_a_row >= ABSENT_IN_A_ROW

    @property
    def prove_unpaid(self) -> bool:
        return self.since >= READS_FOR and self.unpaid_in_a_row >= READS_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a payment beside its state."""

    has_code: bool = False
    """Somebody may pay it by a code."""
    is_switched_off: bool = False
    """That code cannot be paid any more."""
    booked_as: str | None = None
    """Where its money is in the books: ``SALES``, ``SUSPENSE``, or nowhere yet."""
    is_unwanted: bool = False
    """Somebody has asked to undo it."""
