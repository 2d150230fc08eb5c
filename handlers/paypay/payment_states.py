"""What each answer of PayPay makes of a payment: pure, so that every case can be read and tried.

    NEW → CREATED → AUTHORIZED → COMPLETED → REFUND_ACCEPTED → REFUNDED
    NEW → UNKNOWN → (details) → any of them, or CANCELING where details cannot be had
    CANCELING → CANCEL_ACCEPTED → CANCELLED_BY_US, or REFUND_NEEDED where it is too late to cancel
    any end without money → MANUAL, where the money comes after all

A state never goes back on a late word, except that a payment may fail whose cancel was accepted. Nothing that is
unknown becomes failed unless PayPay has said so, or has not known the payment often and long enough; and no single look
ends what may still be paid. Money that is seen is always in an account: of what nobody wants any more in suspense.
Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Final, assert_never
from zoneinfo import ZoneInfo

from handlers.paypay.outcomes import Declined, Facts, Outcome, Pending, Settled, Unknown, Verdict
from handlers.paypay.payment_words import (
    UNPAID,
    Act,
    Known,
    PaymentStatus,
    Reads,
    Step,
    Trouble,
)

LOOKS_AT_REFUSED: Final = 3
"""So many looks at a refund that was refused after a try without a verdict, before it counts as refused."""
CANCEL_UNTIL: Final = time(0, 15)
"""From this time of the day after the payment on, it can only be refunded."""
BALANCE_EXCEEDED: Final = "00800017"
ABSENT: Final = "RESOURCE_NOT_FOUND"
ALREADY_PAID: Final = "DYNAMIC_QR_ALREADY_PAID"


S: Final = PaymentStatus
_STEP_TO: Final[Mapping[str, Step]] = {
    "CREATED": Step(S.CREATED, (Act.POLL,)),
    "REAUTHORIZING": Step(S.AUTHORIZED, (Act.POLL,)),
    "AUTHORIZED": Step(S.AUTHORIZED),
    "COMPLETED": Step(S.COMPLETED, (Act.BOOK,)),
    "REFUNDED": Step(S.COMPLETED, (Act.BOOK, Act.PERSON), Trouble.CONTRADICTION),
    "CANCELED": Step(S.CANCELED),
    "EXPIRED": Step(S.EXPIRED),
    "FAILED": Step(S.FAILED),
}
"""PayPay's word for the state of a payment → ours. One that was refunded without us is for a person."""
_RANK: Final[Mapping[PaymentStatus, int]] = {S.NEW: 0, S.UNKNOWN: 0, S.CREATED: 1, S.AUTHORIZED: 2}
_NOTHING_ELSE: Final = Known()


def after_create(status: PaymentStatus, outcome: Outcome) -> Step:
    """PayPay has answered to a payment or a code that was asked for, or has not."""
    if status is S.CANCELING and isinstance(outcome, Declined):
        # Somebody has asked to cancel it meanwhile, and there is nothing to cancel.
        return Step(S.CANCELLED_BY_US)
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
            return Step(S.MANUAL, (Act.PERSON,), Trouble.REFUSED_STRANGELY)
        case Unknown():
            return Step(S.UNKNOWN, (Act.LOOK,))
        case _:
            assert_never(outcome)


def after_details(status: PaymentStatus, outcome: Outcome, reads: Reads, known: Known = _NOTHING_ELSE) -> Step:
    """PayPay was asked how a payment stands."""
    is_absent = says_absent(outcome)
    seen = _STEP_TO.get(Facts.of(outcome).status) if not isinstance(outcome, Unknown) else None
    if seen is None and status in (S.NEW, S.UNKNOWN):
        return _unseen(status, reads, is_absent=is_absent)
    match status:
        case S.MANUAL if known.booked_as is not None or known.is_unwanted:
            return _of_manual(seen, known)
        case S.NEW | S.UNKNOWN | S.CREATED | S.AUTHORIZED | S.MANUAL:
            if seen is None or _RANK.get(seen.status, 9) < _RANK.get(status, 0):
                return Step(status, (Act.POLL,) if status in (S.CREATED, S.AUTHORIZED) else ())
            return seen
        case S.COMPLETED:
            return _of_completed(seen, is_booked=known.booked_as is not None)
        case S.CANCELING | S.REFUND_NEEDED:
            return _of_unwanted(status, seen, reads, known, is_absent=is_absent)
        case S.CANCEL_ACCEPTED:
            if seen is not None and seen.status is S.COMPLETED:
                return Step(status, (Act.HOLD, Act.POLL))
            is_over = seen is not None and seen.status in (S.FAILED, S.CANCELED, S.EXPIRED)
            is_never_paid = known.is_switched_off and says_unpaid(outcome) and reads.prove_unpaid
            if is_over or (seen is None and is_absent and reads.prove_absence) or is_never_paid:
                return Step(S.CANCELLED_BY_US)
            return Step(status, (Act.POLL,))
        case _ if status in UNPAID and seen is not None and seen.status is S.COMPLETED:
            # It was given up, and the money was taken after all: a person must give it back, or deliver.
            return Step(S.MANUAL, (Act.HOLD, Act.PERSON), Trouble.TAKEN_AFTER_END)
        case _ if status in UNPAID and seen is not None and seen.status is S.AUTHORIZED:
            return Step(status, (Act.PERSON,), Trouble.AUTHORIZED_AFTER_END)
        case _:
            return Step(status)


def after_expiry(outcome: Outcome, reads: Reads, *, is_switched_off: bool) -> Step:
    """A code is switched off because nobody has paid in time; what was paid at the last moment is welcome.

    Only reads after the deletion count, and several that agree: a single one may be older than the payment.
    """
    follow = after_details(S.CREATED, outcome, reads)
    if follow.status is not S.CREATED:
        return follow
    is_over = is_switched_off and says_unpaid(outcome) and reads.prove_unpaid
    return Step(S.EXPIRED) if is_over else Step(S.CANCELING, (Act.LOOK,))


def after_poll_end(status: PaymentStatus, *, has_code: bool) -> Step:
    """Nobody has paid in time: a code is switched off, and what may still come is cancelled."""
    if status is not S.CREATED:
        return Step(status)
    return Step(S.CANCELING, (Act.DELETE_CODE,) if has_code else (Act.CANCEL,))


def after_deletion(status: PaymentStatus, outcome: Outcome) -> Step:
    """A code was switched off, or was paid just before; in either case the payment says the rest."""
    if status is not S.CANCELING:
        return Step(status)
    facts = Facts.of(outcome)
    if isinstance(outcome, Settled) or facts.code == ALREADY_PAID:
        return Step(status, (Act.LOOK,))
    if isinstance(outcome, Declined) or facts.verdict is Verdict.MANUAL:
        return Step(status, (Act.LOOK, Act.PERSON), Trouble.CODE_STAYS_ON)
    return Step(status, (Act.DELETE_CODE,))


def after_cancel(status: PaymentStatus, outcome: Outcome, *, is_in_time: bool) -> Step:
    """A payment was to be cancelled."""
    if status is not S.CANCELING:
        return Step(status)
    match outcome:
        case Settled() | Pending():
            return Step(S.CANCEL_ACCEPTED, (Act.POLL,))
        case Declined():
            return Step(S.REFUND_NEEDED, (Act.LOOK,))
        case Unknown() if Facts.of(outcome).code == ABSENT:
            # PayPay does not know it: the looks say whether it stays so.
            return Step(status, (Act.LOOK,))
        case Unknown() if Facts.of(outcome).verdict is Verdict.MANUAL:
            return Step(S.MANUAL, (Act.PERSON,), Trouble.REFUSED_STRANGELY)
        case Unknown():
            return Step(status, (Act.CANCEL,)) if is_in_time else after_window(status)
        case _:
            assert_never(outcome)


def after_window(status: PaymentStatus) -> Step:
    """It is too late to cancel: what was paid is refunded, what is authorized is given up."""
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
            return Step(status, (Act.PERSON,), Trouble.CAPTURE_REFUSED)
        case Unknown() if facts.verdict is Verdict.DUPLICATE:
            # How much was taken is for the details to say; it is booked then.
            return Step(S.COMPLETED, (Act.LOOK,))
        case Unknown() if is_strange(outcome):
            return Step(status, (Act.LOOK, Act.PERSON), Trouble.CAPTURE_REFUSED)
        case Unknown():
            # Once the details say that it is authorized still, it is taken under a new id.
            return Step(status, (Act.LOOK,))
        case _:
            assert_never(outcome)


def after_revert(status: PaymentStatus, outcome: Outcome) -> Step:
    """An authorization was to be given up."""
    if status not in (S.AUTHORIZED, S.REFUND_NEEDED):
        return Step(status)
    match outcome:
        case Settled():
            return Step(S.CANCELED)
        case Declined():
            return Step(status, (Act.LOOK,))
        case Pending():
            return Step(status, (Act.LOOK,))
        case Unknown() if is_strange(outcome):
            return Step(status, (Act.LOOK, Act.PERSON), Trouble.REVERT_REFUSED)
        case Unknown():
            return Step(status, (Act.LOOK, Act.REVERT_AGAIN))
        case _:
            assert_never(outcome)


def after_refund(status: PaymentStatus, outcome: Outcome, *, is_in_doubt: bool = False) -> Step:
    """Money was to be given back.

    ``is_in_doubt``: an earlier try under this id ended without a verdict, so that a refusal of this one says nothing of
    that one; only a look at the refund does. COMPLETED stands for the state that the payment was in before.
    """
    facts = Facts.of(outcome)
    match outcome:
        case Settled():
            return Step(S.REFUNDED, (Act.BOOK_REFUND,))
        case Pending():
            return Step(S.REFUND_ACCEPTED, (Act.REFUND_LOOK,))
        case Declined() if is_in_doubt:
            return Step(S.REFUND_UNKNOWN, (Act.REFUND_LOOK,))
        case Declined() if facts.verdict is Verdict.RETRY_SAME_ID:
            return Step(S.COMPLETED, (Act.REFUND_SAME,))
        case Declined() if facts.verdict is Verdict.FAILED and facts.code_id != BALANCE_EXCEEDED:
            return Step(S.COMPLETED, (Act.REFUND_AGAIN,))
        case Declined():
            # Perhaps there is nothing to give back any more: the payment says so.
            return Step(S.COMPLETED, (Act.LOOK, Act.PERSON), Trouble.REFUND_REFUSED)
        case Unknown() if facts.verdict is Verdict.NOT_FOUND and not is_in_doubt:
            return Step(S.COMPLETED, (Act.LOOK, Act.PERSON), Trouble.REFUND_REFUSED)
        case Unknown() if facts.verdict is Verdict.MANUAL:
            return Step(S.REFUND_UNKNOWN, (Act.REFUND_LOOK, Act.PERSON), Trouble.REFUND_UNDECIDED)
        case Unknown():
            return Step(S.REFUND_UNKNOWN, (Act.REFUND_LOOK,))
        case _:
            assert_never(outcome)


def after_refund_details(status: PaymentStatus, outcome: Outcome, *, looks: int = 1, was_refused: bool = False) -> Step:
    """PayPay was asked how a refund stands.

    ``was_refused``: the last try was, after one without a verdict; ``looks`` were taken since, this one included.
    """
    if status not in (S.REFUND_UNKNOWN, S.REFUND_ACCEPTED):
        return Step(status)
    if Facts.of(outcome).verdict is Verdict.NOT_FOUND:
        if status is S.REFUND_ACCEPTED or (was_refused and looks < LOOKS_AT_REFUSED):
            return Step(status, (Act.REFUND_LOOK,))
        if was_refused:
            return Step(S.COMPLETED, (Act.LOOK, Act.PERSON), Trouble.REFUND_REFUSED)
        return Step(S.COMPLETED, (Act.REFUND_SAME,))
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


def says_absent(outcome: Outcome) -> bool:
    """Whether PayPay said that it does not know the payment."""
    return Facts.of(outcome).verdict in (Verdict.NOT_FOUND, Verdict.NOT_FOUND_YET)


def says_unpaid(outcome: Outcome) -> bool:
    """Whether PayPay said that nobody has paid yet, or that it knows no payment."""
    is_created = not isinstance(outcome, Unknown) and Facts.of(outcome).status == "CREATED"
    return is_created or says_absent(outcome)


def is_strange(outcome: Outcome) -> bool:
    """PayPay answered with a refusal that nobody knows, or knows nothing of the payment."""
    verdict = Facts.of(outcome).verdict
    return isinstance(outcome, Unknown) and verdict in (Verdict.MANUAL, Verdict.NOT_FOUND)


def _unseen(status: PaymentStatus, reads: Reads, *, is_absent: bool) -> Step:
    """Nobody knows whether there is a payment, and PayPay does not say."""
    if is_absent and reads.prove_absence:
        return Step(S.FAILED)
    if not is_absent and reads.are_enough:
        return Step(S.CANCELING, (Act.CANCEL,))
    return Step(S.UNKNOWN, (Act.LOOK,))


def _of_completed(seen: Step | None, *, is_booked: bool) -> Step:
    """The money was taken. Until PayPay has said how much, it is looked at again; that it is gone is for a person."""
    again = () if is_booked else (Act.LOOK,)
    if seen is None or seen.status in (S.CREATED, S.AUTHORIZED):
        return Step(S.COMPLETED, again)
    if seen.status is S.COMPLETED:
        return seen
    return Step(S.COMPLETED, (*again, Act.PERSON), Trouble.CONTRADICTION)


def _of_manual(seen: Step | None, known: Known) -> Step:
    """A person is to decide on money that came too late, or that somebody wants back."""
    if seen is None or seen.status in (S.CREATED, S.AUTHORIZED):
        return Step(S.MANUAL)
    if seen.trouble is not None:
        return Step(S.MANUAL, (Act.HOLD, Act.PERSON), seen.trouble)
    if seen.status is S.COMPLETED:
        return Step(S.MANUAL, (Act.HOLD,))
    if known.is_unwanted or known.booked_as is None:
        # A cancel whose answer was lost has worked after all.
        return Step(S.CANCELLED_BY_US)
    return Step(S.MANUAL, (Act.PERSON,), Trouble.CONTRADICTION)


def _of_unwanted(status: PaymentStatus, seen: Step | None, reads: Reads, known: Known, *, is_absent: bool) -> Step:
    """A payment that is to be undone: what was paid is cancelled, or refunded where that is too late."""
    if seen is None or seen.status is S.CREATED:
        is_never_seen = status is S.CANCELING and known.booked_as is None
        if is_never_seen and known.has_code:
            # As long as it is on it can be paid, whether or not PayPay knows a payment by it.
            is_over = known.is_switched_off and (seen is not None or is_absent) and reads.prove_unpaid
            return Step(S.CANCELLED_BY_US) if is_over else Step(status, (Act.LOOK,))
        if is_absent and reads.prove_absence:
            # In time, PayPay knows neither the payment nor what to cancel. Later it may have known it.
            return Step(S.CANCELLED_BY_US) if is_never_seen else Step(S.MANUAL, (Act.PERSON,), Trouble.NOT_THERE)
        # Not paid yet is not never paid: an accepted cancel, or a person, ends it.
        return Step(status, (Act.LOOK,))
    if seen.trouble is not None:
        return Step(S.MANUAL, (Act.HOLD, Act.PERSON), seen.trouble)
    if seen.status is S.COMPLETED:
        return Step(status, (Act.HOLD, Act.CANCEL) if status is S.CANCELING else (Act.REFUND,))
    if seen.status is S.AUTHORIZED:
        # PayPay cancels an authorization in its time as it cancels a payment; later it is given up.
        return Step(status, (Act.CANCEL,) if status is S.CANCELING else (Act.REVERT,))
    return Step(S.CANCELLED_BY_US)
