"""The states of a cashback and of a reversal, and what follows from each thing that PayPay says. No input, no output.

    NEW ──────► ACCEPTED ──────► SUCCESS     the money moved
     ▲  └─► UNKNOWN ──┘  └─────► FAILED      PayPay says that it did not
     └────────┘    (absent: again, same id)
    NEW ──► REJECTED                         refused when it was asked for the first time: nothing happened
    MANUAL                                   a person looks; points stay held, PayPay is asked on

Only PayPay's own word, or a person's, ends a request. What a person has ended is asked about on, until PayPay itself
says how it ended: only then may anything be tried under another id. Both machines are the same; a reversal's end
returns points instead of spending or releasing them. Source: docs/providers/paypay.md, "States".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, assert_never

from handlers.paypay.outcomes import Declined, Facts, Outcome, Pending, Settled, Unknown, Verdict

EARLY_CHECKS_S: Final = (1.0, 5.0, 30.0)
"""How long after it was sent a request is looked at, by timers; then the sweep looks."""
SWEEP: Final = timedelta(seconds=300)
MANUAL_SWEEP: Final = timedelta(hours=1)
MANUAL_AFTER: Final = timedelta(hours=24)
ABSENT_MIN: Final = 3
"""How often PayPay must have said that it does not know a request before it is sent again."""
ABSENT_FOR: Final = timedelta(minutes=5)
"""How long after it was sent, at least: an accepted request may show late."""
CONFIRMED_WITHIN: Final = timedelta(days=30)
"""How long after it was made PayPay is asked about what a person has ended."""
SAID_SUCCESS: Final = "SUCCESS"
SAID_FAILURE: Final = "FAILURE"
"""PayPay's own words for how a request ended."""


class Status(StrEnum):
    """Where a request is."""

    NEW = "NEW"
    ACCEPTED = "ACCEPTED"
    UNKNOWN = "UNKNOWN"
    MANUAL = "MANUAL"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    REJECTED = "REJECTED"

    @property
    def is_final(self) -> bool:
        return self in FINAL


FINAL: Final = frozenset({Status.SUCCESS, Status.FAILED, Status.REJECTED})


class Sent(StrEnum):
    """What became of a request that left."""

    ACCEPTED = "accepted"
    UNDECIDED = "undecided"
    REFUSED = "refused"
    STRANGE = "strange"


class Seen(StrEnum):
    """What a look at PayPay showed."""

    ACCEPTED = "accepted"
    SUCCESS = "success"
    FAILURE = "failure"
    ABSENT = "absent"
    NOTHING = "nothing"


class Alert(StrEnum):
    """Why a person must look."""

    REFUSED_STRANGELY = "refused_strangely"
    REFUSED_AFTER_UNKNOWN = "refused_after_unknown"
    UNDECIDED_FOR_A_DAY = "undecided_for_a_day"
    CONTRADICTION = "contradiction"
    ABSENT_BUT_REVERSED = "absent_but_reversed"
    NOT_SENT_FOR_A_DAY = "not_sent_for_a_day"


@dataclass(frozen=True, slots=True)
class Step:
    """The next state, whether the same id is to be sent again, and whether a person must look."""

    status: Status
    is_resent: bool = False
    alert: Alert | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What surrounds a look: how old the request is, when it was sent last, how often PayPay did not know it since.

    ``is_reversed``: it is, or was, to be taken back.
    """

    now: datetime
    requested_at: datetime
    sent_at: datetime | None
    absent_count: int
    is_reversed: bool = False

    @property
    def is_old(self) -> bool:
        return self.now - self.requested_at >= MANUAL_AFTER

    @property
    def is_absent_for_good(self) -> bool:
        sent_at = self.sent_at or self.requested_at
        return self.absent_count >= ABSENT_MIN and self.now - sent_at >= ABSENT_FOR


def sent_of(outcome: Outcome) -> Sent:
    """What the answer to a request says about it."""
    match outcome:
        case Settled() | Pending():
            return Sent.ACCEPTED
        case Unknown():
            return Sent.STRANGE if Facts.of(outcome).verdict is Verdict.MANUAL else Sent.UNDECIDED
        case Declined():
            # A refusal that nobody has seen before is no proof that nothing happened.
            return Sent.STRANGE if Facts.of(outcome).verdict is Verdict.MANUAL else Sent.REFUSED
        case _:
            assert_never(outcome)


def seen_of(outcome: Outcome) -> Seen:
    """What the answer to a look says about the request."""
    match outcome:
        case Settled():
            return Seen.SUCCESS
        case Declined():
            # Only the thing's own status says that it failed: a look that was refused says nothing about it.
            return Seen.FAILURE if Facts.of(outcome).status == SAID_FAILURE else Seen.NOTHING
        case Pending() | Unknown() if is_absent(outcome):
            return Seen.ABSENT
        case Pending():
            return Seen.ACCEPTED
        case Unknown():
            return Seen.NOTHING
        case _:
            assert_never(outcome)


def is_absent(outcome: Outcome) -> bool:
    """Whether PayPay says that it does not know the request."""
    return Facts.of(outcome).verdict in (Verdict.NOT_FOUND, Verdict.NOT_FOUND_YET)


def after_sending(status: Status, sent: Sent, *, is_first: bool) -> Step:
    """What follows from the answer to a request. ``is_first``: no earlier try of it is undecided.

    A look may have been quicker than the answer: what it found stays.
    """
    if status is not Status.NEW:
        return Step(status)
    match sent:
        case Sent.ACCEPTED:
            return Step(Status.ACCEPTED)
        case Sent.UNDECIDED:
            return Step(Status.UNKNOWN)
        case Sent.STRANGE:
            return Step(Status.MANUAL, alert=Alert.REFUSED_STRANGELY)
        case Sent.REFUSED if not is_first:
            # This refusal is about this try. What became of the one before, only a look or a person can say.
            return Step(Status.MANUAL, alert=Alert.REFUSED_AFTER_UNKNOWN)
        case Sent.REFUSED:
            return Step(Status.REJECTED)
        case _:
            assert_never(sent)


def after_looking(status: Status, seen: Seen, look: Look) -> Step:
    """What follows from a look. A final state never changes; PayPay's saying otherwise is for a person."""
    if status.is_final:
        is_other = (seen is Seen.SUCCESS and status is not Status.SUCCESS) or (
            seen is Seen.FAILURE and status is Status.SUCCESS
        )
        return Step(status, alert=Alert.CONTRADICTION if is_other else None)
    match seen:
        case Seen.SUCCESS:
            return Step(Status.SUCCESS)
        case Seen.FAILURE:
            return Step(Status.FAILED)
        case Seen.ACCEPTED if status in (Status.NEW, Status.UNKNOWN):
            status = Status.ACCEPTED
        case Seen.ABSENT if status is Status.UNKNOWN and look.is_absent_for_good and not look.is_old:
            if look.is_reversed:
                # Somebody wants it back: sent again, it would be granted after its reversal has ended.
                return Step(Status.MANUAL, alert=Alert.ABSENT_BUT_REVERSED)
            return Step(Status.NEW, is_resent=True)
        case Seen.ACCEPTED | Seen.ABSENT | Seen.NOTHING:
            pass
        case _:
            assert_never(seen)
    if look.is_old and status is Status.NEW and look.sent_at is None:
        # Its delivery may still send it, once the way is free: it stays what it is, and a person hears of it.
        return Step(status, alert=Alert.NOT_SENT_FOR_A_DAY)
    if look.is_old and status in (Status.NEW, Status.ACCEPTED, Status.UNKNOWN):
        return Step(Status.MANUAL, alert=Alert.UNDECIDED_FOR_A_DAY)
    return Step(status)


def next_look_s(status: Status, check_count: int) -> float | None:
    """How long until a timer looks again; None where the sweep does."""
    if status not in (Status.ACCEPTED, Status.UNKNOWN) or check_count >= len(EARLY_CHECKS_S):
        return None
    return EARLY_CHECKS_S[check_count]


def is_confirmed(status: Status, said: str | None) -> bool:
    """Whether PayPay itself says that it ended so; else a person said it. ``said`` is PayPay's word for its state."""
    return status is Status.REJECTED or said == {Status.SUCCESS: SAID_SUCCESS, Status.FAILED: SAID_FAILURE}.get(status)


def is_contradicted(status: Status, said: str | None) -> bool:
    """Whether PayPay says the opposite of how it ended here: what moved is in no book, or what is in one has not."""
    return status.is_final and said == (SAID_FAILURE if status is Status.SUCCESS else SAID_SUCCESS)


def next_sweep_at(status: Status, now: datetime) -> datetime | None:
    """When the sweep is to look at it; None where it has ended.

    Also at a NEW one, as rarely as at one that a person has: the delivery that is to send it may have sent it, and then
    have failed for good.
    """
    if status.is_final:
        return None
    return now + (SWEEP if status in (Status.ACCEPTED, Status.UNKNOWN) else MANUAL_SWEEP)


def next_confirming_at(requested_at: datetime, now: datetime) -> datetime | None:
    """When the sweep is to look whether PayPay agrees with a person; None where that was tried for long enough."""
    return now + MANUAL_SWEEP if now - requested_at < CONFIRMED_WITHIN else None
