"""What a request's row remembers of each send and each look; the same for a cashback and a reversal.

``states.py`` decides, this writes it down. Source: docs/providers/paypay.md, "States".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from handlers.paypay.outcomes import Facts, Outcome, Pending, Unknown
from handlers.paypay.states import (
    Alert,
    Look,
    Seen,
    Sent,
    Status,
    Step,
    after_looking,
    after_sending,
    is_absent,
    is_confirmed,
    next_confirming_at,
    next_look_s,
    next_sweep_at,
    seen_of,
    sent_of,
)
from handlers.paypay.tables import Request

if TYPE_CHECKING:
    from hub.deliver.context import Context

Read: TypeAlias = Callable[[Any, str], Awaitable[Outcome]]
ERROR_MAX: Final = 255
MAINTENANCE: Final = "MAINTENANCE_MODE"
MAINTENANCE_S: Final = 600.0
WORDS: Final[Mapping[Alert, str]] = {
    Alert.REFUSED_STRANGELY: "PayPay refused it with a code that is not known: look it up at PayPay, then decide",
    Alert.REFUSED_AFTER_UNKNOWN: "PayPay refused a second try, and of the first nobody knows: look it up at PayPay",
    Alert.UNDECIDED_FOR_A_DAY: "PayPay has not decided for a day: ask PayPay; the hub goes on asking every hour",
    Alert.CONTRADICTION: (
        "PayPay now says the opposite of how this ended, and nothing was booked for it: settle it as PayPay's panel "
        "shows it, or take back what was paid"
    ),
    Alert.ABSENT_BUT_REVERSED: "PayPay does not know it, and it is to be taken back: decide; it is not sent again",
    Alert.NOT_SENT_FOR_A_DAY: "It has not reached PayPay for a day: look at hub parked list, or settle it",
}


def looking(read: Read) -> Read:
    """A read for ``ctx.call``: that PayPay does not know a request is an answer, and no sign that nobody answers."""

    async def look(request: Any, key: str) -> Outcome:
        outcome = await read(request, key)
        return Pending("PayPay does not know it", outcome.data) if is_absent(outcome) else outcome

    return look


async def rest_if_down(outcome: Outcome, ctx: Context) -> None:
    """PayPay is being maintained: nobody asks it for a while. What was under way is unknown, and asked about first."""
    if Facts.of(outcome).code == MAINTENANCE:
        await ctx.pause_provider(MAINTENANCE_S, "PayPay is being maintained")


def note_sent(row: Request, outcome: Outcome, ctx: Context) -> Step:
    """A request was sent and answered, or given up on: the next state, and what is remembered of it."""
    sent, facts = sent_of(outcome), Facts.of(outcome)
    # An undecided try leaves its mark; a second one must not be taken for the only one.
    step = after_sending(row.state, sent, is_first=row.attempts == 0)
    row.attempts += 1
    row.sent_at = ctx.now
    _note(row, outcome, facts, ctx)
    if row.state is Status.NEW:
        row.check_count = row.absent_count = 0
    if sent is Sent.ACCEPTED and row.accepted_at is None:
        row.accepted_at = ctx.now
    return step


def note_seen(row: Request, outcome: Outcome, ctx: Context, *, is_reversed: bool = False) -> Step:
    """PayPay was asked how it stands: the next state, and what is remembered of it.

    ``is_reversed``: it is, or was, to be taken back.
    """
    seen, facts = seen_of(outcome), Facts.of(outcome)
    row.check_count += 1
    if seen is Seen.ABSENT:
        row.absent_count += 1
    look = Look(
        now=ctx.now,
        requested_at=row.requested_at,
        sent_at=row.sent_at,
        absent_count=row.absent_count,
        is_reversed=is_reversed,
    )
    step = after_looking(row.state, seen, look)
    if row.state.is_final:
        # What ended it stays on record; what PayPay says of that is added, be it the same or the opposite.
        if seen in (Seen.SUCCESS, Seen.FAILURE):
            row.paypay_status = facts.status
        return step
    _note(row, outcome, facts, ctx)
    if seen is not Seen.NOTHING:
        # An answer about another thing may have a state, too.
        row.paypay_status = facts.status or row.paypay_status
    if seen is Seen.ACCEPTED and row.accepted_at is None:
        row.accepted_at = ctx.now
    return step


def their_id(outcome: Outcome, name: str) -> str | None:
    """PayPay's own id of what was asked about; None where it names none, or the answer may be about another thing."""
    return None if isinstance(outcome, Unknown) else Facts.of(outcome).data.get(name) or None


def settle(row: Request, step: Step, ctx: Context) -> None:
    """Take the step: the row's new state, when it is looked at next, and whether a person must look."""
    ctx.conclude(step.status.lower())
    if not row.state.is_final:
        row.status = step.status
        row.next_check_at = next_sweep_at(step.status, ctx.now)
        row.updated_at = ctx.now
        if step.status is Status.SUCCESS:
            row.succeeded_at = ctx.now
        if step.status.is_final:
            close_review(row, f"PayPay has decided: {step.status}", ctx)
    if row.state.is_final:
        is_decided = is_confirmed(row.state, row.paypay_status) or step.alert is Alert.CONTRADICTION
        row.next_check_at = None if is_decided else next_confirming_at(row.requested_at, ctx.now)
    if step.alert is Alert.CONTRADICTION:
        # The gravest of all, told once; it follows whatever else was asked of a person about this row.
        if row.last_error != step.alert:
            row.last_error = step.alert
            close_review(row, f"followed by: {step.alert}", ctx)
            ask_person(row, step.alert, WORDS[step.alert], ctx)
    elif step.alert is not None:
        ask_person(row, step.alert, WORDS[step.alert], ctx)


def ask_person(row: Request, why: str, words: str, ctx: Context) -> None:
    """Put it on a person's list, unless it is there."""
    if row.review_event_id is None:
        row.review_event_id = ctx.event.id
        ctx.review(why, words)


def close_review(row: Request, note: str, ctx: Context) -> None:
    """What a person was to look at is settled."""
    if row.review_event_id is not None:
        ctx.resolve_review(row.review_event_id, note)
        row.review_event_id = None


def wait_s(row: Request) -> float | None:
    """How long until a timer looks at it again; None where the sweep does."""
    return next_look_s(row.state, row.check_count)


def _note(row: Request, outcome: Outcome, facts: Facts, ctx: Context) -> None:
    if facts.http_status is not None:
        row.http_status = facts.http_status
        row.result_code, row.result_code_id = facts.code or None, facts.code_id or None
        row.paypay_request_id = facts.request_id or None
    reason: str = getattr(outcome, "reason", "")
    row.last_error = reason[:ERROR_MAX] or None
    row.updated_at = ctx.now
