"""What each answer of PayPay makes of a payment: pure, so that every case can be read and tried.

    NEW → CREATED → AUTHORIZED → COMPLETED → REFUND_ACCEPTED → REFUNDED
    NEW → UNKNOWN → (details) → any of them, or CANCELING where details cannot be had
    CANCELING → CANCEL_ACCEPTED → CANCELLED_BY_US, or REFUND_NEEDED where it is too late to cancel

A state never goes back on a late word, except that a payment may fail whose cancel was accepted. Nothing that is
unknown becomes failed unless PayPay has said so, or has not known the payment often and long enough.
Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final, assert_never
from zoneinfo import ZoneInfo

from handlers.paypay.outcomes import Declined, Facts, Outcome, Pending, Settled, Unknown, Verdict

READS_MIN: Final = 5
READS_FOR: Final = timedelta(seconds=60)
"""So many reads over so long, before PayPay's not knowing a payment, or its silence, counts."""
ABSENT_IN_A_ROW: Final = 2
CANCEL_UNTIL: Final = time(0, 15)
"""From this time of the day after the payment on, it can only be refunded."""
BALANCE_EXCEEDED: Final = "00800017"


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
    BOOK_REFUND = "book_refund"
    POLL = "poll"
    LOOK = "look"
    DELETE_CODE = "delete_code"
    CANCEL = "cancel"
    CAPTURE_AGAIN = "capture_again"
    REVERT_AGAIN = "revert_again"
    REFUND = "refund"
    REFUND_LOOK = "refund_look"
    REFUND_SAME = "refund_same"
    REFUND_AGAIN = "refund_again"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Step:
    """The next state, and what is to be done."""

    status: PaymentStatus
    acts: tuple[Act, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """The reads of a payment since it became unknown or was cancelled, this one included."""

    count: int
    absent_in_a_row: int
    since: timedelta

    @property
    def are_enough(self) -> bool:
        return self.count >= READS_MIN and self.since >= READS_FOR

    @property
    def prove_absence(self) -> bool:
        return self.are_enough and self.absent_in_a_row >= ABSENT_IN_A_ROW


_STEP_TO: Final[Mapping[str, Step]] = {
    "CREATED": Step(S.CREATED, (Act.POLL,)),
    "REAUTHORIZING": Step(S.AUTHORIZED, (Act.POLL,)),
    "AUTHORIZED": Step(S.AUTHORIZED),
    "COMPLETED": Step(S.COMPLETED, (Act.BOOK,)),
    "REFUNDED": Step(S.COMPLETED, (Act.BOOK, Act.PERSON)),
    "CANCELED": Step(S.CANCELED),
    "EXPIRED": Step(S.EXPIRED),
    "FAILED": Step(S.FAILED),
}
"""PayPay's word for the state of a payment → ours. One that was refunded without us is for a person."""
_RANK: Final[Mapping[PaymentStatus, int]] = {S.NEW: 0, S.UNKNOWN: 0, S.CREATED: 1, S.AUTHORIZED: 2}


def after_create(status: PaymentStatus, outcome: Outcome) -> Step:
    """PayPay has answered to a payment or a code that was asked for, or has not."""
    if status is not S.NEW:
        # A look was quicker.
        return Step(status)
    facts = Facts.of(outcome)
    match outcome:
        case Settled():
            # A code has no status: nobody has paid it yet.
            return _STEP_TO.get(facts.status or "CREATED", Step(S.UNKNOWN, (Act.LOOK,)))
        case Pending():
            return Step(S.CREATED, (Act.POLL,))
        case Declined():
            is_failed = facts.verdict is Verdict.FAILED or facts.status == "FAILED" or facts.code == "UNACCEPTABLE_OP"
            return Step(S.FAILED if is_failed else S.REJECTED)
        case Unknown() if facts.verdict is Verdict.MANUAL:
            return Step(S.MANUAL, (Act.PERSON,))
        case Unknown():
            return Step(S.UNKNOWN, (Act.LOOK,))
        case _:
            assert_never(outcome)


def after_details(status: PaymentStatus, outcome: Outcome, reads: Reads, *, is_switched_off: bool = False) -> Step:
    """PayPay was asked how a payment stands. ``is_switched_off``: its code cannot be paid any more."""
    facts = Facts.of(outcome)
    is_absent = facts.verdict in (Verdict.NOT_FOUND, Verdict.NOT_FOUND_YET)
    seen = _STEP_TO.get(facts.status) if not isinstance(outcome, Unknown) else None
    if seen is None and status in (S.NEW, S.UNKNOWN):
        return _unseen(status, reads, is_absent=is_absent)
    match status:
        case S.NEW | S.UNKNOWN | S.CREATED | S.AUTHORIZED | S.MANUAL:
            if seen is None or _RANK.get(seen.status, 9) < _RANK.get(status, 0):
                return Step(status, (Act.POLL,) if status in (S.CREATED, S.AUTHORIZED) else ())
            return seen
        case S.COMPLETED if seen is not None and (seen.status is status or seen.status.is_final):
            # What was taken is not untaken by a look: PayPay's saying so is for a person.
            return Step(status, seen.acts if seen.status is status else (Act.PERSON,))
        case S.CANCELING | S.REFUND_NEEDED:
            return _of_unwanted(status, seen, reads, is_absent=is_absent, is_switched_off=is_switched_off)
        case S.CANCEL_ACCEPTED:
            is_over = seen is not None and seen.status in (S.FAILED, S.CANCELED, S.EXPIRED)
            if is_over or (seen is None and is_absent and reads.prove_absence):
                return Step(S.CANCELLED_BY_US)
            return Step(status, (Act.POLL,))
        case _ if status in UNPAID and seen is not None and seen.status in (S.COMPLETED, S.AUTHORIZED):
            # It was given up, and the money was taken after all: a person must give it back, or deliver.
            return Step(status, (Act.PERSON,))
        case _:
            return Step(status)


def after_poll_end(status: PaymentStatus, *, has_code: bool) -> Step:
    """Nobody has paid in time: a code is switched off, and what may still come is cancelled."""
    if status is not S.CREATED:
        return Step(status)
    return Step(S.CANCELING, (Act.DELETE_CODE,) if has_code else (Act.CANCEL,))


def after_deletion(status: PaymentStatus, outcome: Outcome) -> Step:
    """A code was switched off, or was paid just before; in either case the payment says the rest."""
    if status is not S.CANCELING:
        return Step(status)
    return Step(status, (Act.LOOK,) if isinstance(outcome, Settled | Declined) else (Act.DELETE_CODE,))


def after_cancel(status: PaymentStatus, outcome: Outcome, *, is_in_time: bool) -> Step:
    """A payment was to be cancelled."""
    if status is not S.CANCELING:
        return Step(status)
    match outcome:
        case Settled() | Pending():
            return Step(S.CANCEL_ACCEPTED, (Act.POLL,))
        case Declined():
            return Step(S.REFUND_NEEDED, (Act.LOOK,))
        case Unknown() if Facts.of(outcome).verdict is Verdict.MANUAL:
            return Step(S.MANUAL, (Act.PERSON,))
        case Unknown():
            return Step(status, (Act.CANCEL,)) if is_in_time else after_window(status)
        case _:
            assert_never(outcome)


def after_window(status: PaymentStatus) -> Step:
    """It is too late to cancel: what was paid is refunded."""
    return Step(S.REFUND_NEEDED, (Act.LOOK,)) if status is S.CANCELING else Step(status)


def after_capture(status: PaymentStatus, outcome: Outcome) -> Step:
    """What was authorized was to be taken."""
    if status is not S.AUTHORIZED:
        return Step(status)
    facts = Facts.of(outcome)
    match outcome:
        case Settled():
            return _STEP_TO.get(facts.status, Step(status, (Act.LOOK,)))
        case Pending():
            return Step(status, (Act.POLL,))
        case Declined() if facts.code == "ORDER_EXPIRED":
            return Step(S.EXPIRED)
        case Declined() if facts.verdict is Verdict.RETRY_NEW_CAPTURE_ID:
            return Step(status, (Act.CAPTURE_AGAIN,))
        case Declined():
            return Step(status, (Act.PERSON,))
        case Unknown() if facts.verdict is Verdict.DUPLICATE:
            # How much was taken is for the details to say; it is booked then.
            return Step(S.COMPLETED, (Act.LOOK,))
        case Unknown() if facts.verdict in (Verdict.MANUAL, Verdict.NOT_FOUND):
            return Step(status, (Act.PERSON,))
        case Unknown():
            # Once the details say that it is authorized still, it is taken under a new id.
            return Step(status, (Act.LOOK,))
        case _:
            assert_never(outcome)


def after_revert(status: PaymentStatus, outcome: Outcome) -> Step:
    """An authorization was to be given up."""
    if status is not S.AUTHORIZED:
        return Step(status)
    match outcome:
        case Settled():
            return Step(S.CANCELED)
        case Declined():
            return Step(status, (Act.LOOK,))
        case Pending():
            return Step(status, (Act.LOOK,))
        case Unknown() if Facts.of(outcome).verdict in (Verdict.MANUAL, Verdict.NOT_FOUND):
            return Step(status, (Act.PERSON,))
        case Unknown():
            return Step(status, (Act.LOOK, Act.REVERT_AGAIN))
        case _:
            assert_never(outcome)


def after_refund(status: PaymentStatus, outcome: Outcome) -> Step:
    """Money was to be given back."""
    facts = Facts.of(outcome)
    match outcome:
        case Settled():
            return Step(S.REFUNDED, (Act.BOOK_REFUND,))
        case Pending():
            return Step(S.REFUND_ACCEPTED, (Act.REFUND_LOOK,))
        case Declined() if facts.verdict is Verdict.RETRY_SAME_ID:
            return Step(S.COMPLETED, (Act.REFUND_SAME,))
        case Declined() if facts.verdict is Verdict.FAILED and facts.code_id != BALANCE_EXCEEDED:
            return Step(S.COMPLETED, (Act.REFUND_AGAIN,))
        case Declined():
            return Step(S.COMPLETED, (Act.PERSON,))
        case Unknown() if facts.verdict is Verdict.NOT_FOUND:
            return Step(S.COMPLETED, (Act.LOOK, Act.PERSON))
        case Unknown() if facts.verdict is Verdict.MANUAL:
            return Step(S.REFUND_UNKNOWN, (Act.REFUND_LOOK, Act.PERSON))
        case Unknown():
            return Step(S.REFUND_UNKNOWN, (Act.REFUND_LOOK,))
        case _:
            assert_never(outcome)


def after_refund_details(status: PaymentStatus, outcome: Outcome) -> Step:
    """PayPay was asked how a refund stands."""
    if status not in (S.REFUND_UNKNOWN, S.REFUND_ACCEPTED):
        return Step(status)
    if Facts.of(outcome).verdict is Verdict.NOT_FOUND:
        is_lost = status is S.REFUND_UNKNOWN
        return Step(S.COMPLETED, (Act.REFUND_SAME,)) if is_lost else Step(status, (Act.REFUND_LOOK,))
    match outcome:
        case Settled():
            return Step(S.REFUNDED, (Act.BOOK_REFUND,))
        case Pending():
            # REFUND_FAILED passes: PayPay goes on trying.
            return Step(S.REFUND_ACCEPTED, (Act.REFUND_LOOK,))
        case Unknown() | Declined():
            return Step(status, (Act.REFUND_LOOK,))
        case _:
            assert_never(outcome)


def after_notice(status: PaymentStatus) -> Step:
    """A notification names a payment. Nobody signed it: PayPay is asked, whatever it says."""
    return Step(status) if status.is_final else Step(status, (Act.LOOK,))


def is_cancel_in_time(paid_at: datetime, now: datetime, zone: ZoneInfo) -> bool:
    """Whether a payment can still be cancelled: until 00:14:59 of the next day at PayPay."""
    next_day = paid_at.astimezone(zone).date() + timedelta(days=1)
    return now < datetime.combine(next_day, CANCEL_UNTIL, zone)


def _unseen(status: PaymentStatus, reads: Reads, *, is_absent: bool) -> Step:
    """Nobody knows whether there is a payment, and PayPay does not say."""
    if is_absent and reads.prove_absence:
        return Step(S.FAILED)
    if not is_absent and reads.are_enough:
        return Step(S.CANCELING, (Act.CANCEL,))
    return Step(S.UNKNOWN, (Act.LOOK,))


def _of_unwanted(
    status: PaymentStatus, seen: Step | None, reads: Reads, *, is_absent: bool, is_switched_off: bool
) -> Step:
    """A payment that is to be undone: what was paid is cancelled, or refunded where that is too late."""
    if seen is None or seen.status is S.CREATED:
        is_unpaid = seen is not None or is_absent
        if status is S.CANCELING and is_unpaid and is_switched_off:
            return Step(S.CANCELLED_BY_US)
        if status is S.REFUND_NEEDED and is_absent and reads.prove_absence:
            # It cannot be cancelled, and there is nothing to refund.
            return Step(S.MANUAL, (Act.PERSON,))
        # Not paid yet is not never paid: an accepted cancel, or a person, ends it.
        return Step(status, (Act.LOOK,))
    if seen.status in (S.COMPLETED, S.AUTHORIZED):
        if status is S.CANCELING:
            return Step(status, (Act.CANCEL,))
        return Step(status, (Act.REFUND,) if seen.status is S.COMPLETED else (Act.PERSON,))
    return Step(S.CANCELLED_BY_US)
