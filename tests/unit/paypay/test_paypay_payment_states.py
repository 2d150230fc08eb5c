"""Every published case of a payment's life, and where it may not go."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from handlers.paypay.answers import Answer, Asked, facts_from, outcome_of
from handlers.paypay.codes import Call
from handlers.paypay.outcomes import Outcome, PayPayBusyError, Unknown
from handlers.paypay.payment_states import (
    after_cancel,
    after_capture,
    after_create,
    after_deletion,
    after_details,
    after_expiry,
    after_notice,
    after_poll_end,
    after_refund,
    after_refund_details,
    after_revert,
    after_window,
    is_cancel_in_time,
)
from handlers.paypay.payment_words import FINAL, UNPAID, Act, Known, PaymentStatus, Reads, Step, Trouble

S = PaymentStatus
DATA = Path(__file__).parents[2] / "data/paypay"
ALL_CASES: list[dict[str, Any]] = json.loads((DATA / "state_cases.json").read_text())["cases"]
CASES = [case for case in ALL_CASES if case["machine"] == "payment"]
WINDOW: list[dict[str, Any]] = json.loads((DATA / "cancel_window_cases.json").read_text())["cases"]
NO_READS = Reads(count=1, absent_in_a_row=0, since=timedelta())
ENOUGH = Reads(count=5, absent_in_a_row=2, since=timedelta(seconds=60))
JAPAN = ZoneInfo("Asia/Tokyo")
CALLS = {
    "create": Call.CREATE_PAYMENT,
    "details": Call.READ_PAYMENT,
    "cancel": Call.CANCEL_PAYMENT,
    "capture": Call.CAPTURE_PAYMENT,
    "revert": Call.REVERT_PAYMENT,
    "refund": Call.REFUND_PAYMENT,
    "refund details": Call.READ_REFUND,
}
CODE_IDS = {"00200034": ("INTERNAL_SERVER_ERROR", "00200034")}
ACTS: dict[str, Act] = {
    "book payment": Act.BOOK,
    "book refund": Act.BOOK_REFUND,
    "poll": Act.POLL,
    "poll every 2-5 s": Act.POLL,
    "get details with the same id": Act.LOOK,
    "cancel with the same id": Act.CANCEL,
    "repeat with growing pause until the window closes": Act.CANCEL,
    "read details; COMPLETED: refund": Act.LOOK,
    "no webhook comes: read details until FAILED": Act.POLL,
    "read details": Act.LOOK,
    "read details; if still AUTHORIZED capture again with a NEW merchantCaptureId": Act.LOOK,
    "pause, NEW merchantCaptureId": Act.CAPTURE_AGAIN,
    "counts as success; read until REFUNDED": Act.REFUND_LOOK,
    "NEW merchantRefundId after a pause": Act.REFUND_AGAIN,
    "refund details with paymentId": Act.REFUND_LOOK,
    "manual": Act.PERSON,
    "same id after 60 s": Act.REFUND_SAME,
    "send refund again with the SAME merchantRefundId": Act.REFUND_SAME,
    "delete the code, then cancel": Act.DELETE_CODE,
    "confirm by details": Act.LOOK,
}
"""What a published action is called here; those that are not in it ask for nothing to be done."""


def outcome_to(call: Call, said: str) -> Outcome:
    """The outcome of an answer as the cases write it, such as ``400 NO_SUFFICIENT_FUND`` or ``read time-out``."""
    if "time-out" in said and not said[:3].isdigit():
        return Unknown("no answer")
    if said.startswith("connection reset"):
        return Unknown("cut")
    found = re.match(r"(?:(\d{3})\b)?\s*(\w+)?", said)
    assert found is not None
    word = found[2] or ""
    http_status = int(found[1] or (404 if word == "not" else 200))
    if word in ("html", "") and found[1]:
        return judged(call, http_status, b"<html>")
    is_status = http_status < 300 and word not in ("REQUEST_ACCEPTED", "USER_CONFIRMATION_REQUIRED")
    code, code_id = CODE_IDS.get(word, ("SUCCESS" if is_status else word, ""))
    if said == "not found":
        code = "RESOURCE_NOT_FOUND"
    data = {"status": word} if is_status else None
    info = {"resultInfo": {"code": code, "message": "", "codeId": code_id}, "data": data}
    return judged(call, http_status, json.dumps(info).encode())


def judged(call: Call, http_status: int, raw: bytes) -> Outcome:
    asked = Asked(call)
    return outcome_of(asked, facts_from(asked, Answer(http_status=http_status, body=raw)))


def step_of(case: dict[str, Any]) -> Step:
    status, (kind, _, said) = PaymentStatus(case["from"]), case["event"].partition(":")
    match kind:
        case "create":
            return after_create(status, outcome_to(Call.CREATE_PAYMENT, said))
        case "details":
            if "tries used up" in said:
                return after_details(status, Unknown("no answer"), ENOUGH)
            return after_details(status, outcome_to(Call.READ_PAYMENT, said), ENOUGH)
        case "cancel":
            return after_cancel(status, outcome_to(Call.CANCEL_PAYMENT, said), is_in_time=True)
        case "capture":
            return after_capture(status, outcome_to(Call.CAPTURE_PAYMENT, said))
        case "revert":
            return after_revert(status, outcome_to(Call.REVERT_PAYMENT, said))
        case "refund":
            return after_refund(status, outcome_to(Call.REFUND_PAYMENT, said))
        case "refund details":
            return after_refund_details(status, outcome_to(Call.READ_REFUND, said))
        case "webhook":
            return after_notice(status)
        case "poll time used up":
            return after_poll_end(status, has_code=True)
        case _:
            assert kind.startswith("window closed")
            return after_window(status)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['from']}-{case['event']}")
def test_a_published_case_goes_where_it_should(case: dict[str, Any]) -> None:
    expected = case["from"] if case["to"] == "same" else case["to"]
    acts = {ACTS[action] for action in case["actions"] if action in ACTS}

    try:
        step = step_of(case)
    except PayPayBusyError:
        # Nothing happened at PayPay: the hub sends the same id again by itself.
        assert (expected, case["actions"]) == (case["from"], ["back off", "same id"])
        return

    if case["event"].startswith("webhook:") and step.acts == (Act.LOOK,):
        # A notification only asks for a look, which finds what it tells, or something newer.
        seen = case["event"].removeprefix("webhook:").partition(" ")[0]
        newer = {"COMPLETED": "COMPLETED"}.get(case["from"], seen)
        step = after_details(step.status, outcome_to(Call.READ_PAYMENT, newer), NO_READS)
        acts -= {Act.LOOK}
    assert step.status == expected
    assert acts <= set(step.acts), step


def test_the_cases_are_all_there() -> None:
    assert len(ALL_CASES) == 116
    assert len(CASES) == 51


def test_absence_counts_only_after_five_reads_over_a_minute_the_last_two_agreeing() -> None:
    absent = outcome_to(Call.READ_PAYMENT, "not found")
    for reads in (
        Reads(count=4, absent_in_a_row=4, since=timedelta(seconds=61)),
        Reads(count=5, absent_in_a_row=5, since=timedelta(seconds=59)),
        Reads(count=9, absent_in_a_row=1, since=timedelta(seconds=99)),
    ):
        assert after_details(PaymentStatus.UNKNOWN, absent, reads) == Step(PaymentStatus.UNKNOWN, (Act.LOOK,))
    assert after_details(PaymentStatus.UNKNOWN, absent, ENOUGH).status is PaymentStatus.FAILED


WORDS = ["CREATED", "AUTHORIZED", "COMPLETED", "FAILED", "CANCELED", "EXPIRED", "REFUNDED"]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("status", [*PaymentStatus])
def test_a_state_never_goes_back_and_an_end_is_an_end_but_for_money_that_came_after_it(
    status: PaymentStatus, word: str
) -> None:
    order = ["NEW", "UNKNOWN", "CREATED", "AUTHORIZED", "COMPLETED"]

    step = after_details(status, outcome_to(Call.READ_PAYMENT, word), ENOUGH)

    if status in UNPAID and word in ("COMPLETED", "REFUNDED"):
        assert step == Step(S.MANUAL, (Act.HOLD, Act.PERSON), Trouble.TAKEN_AFTER_END)
    elif status in FINAL or status.is_paid:
        assert step.status is status
    elif status in order and step.status in order:
        assert order.index(step.status) >= order.index(status)


@pytest.mark.parametrize("status", sorted(UNPAID))
def test_what_comes_after_an_end_is_held_or_told_to_a_person(status: PaymentStatus) -> None:
    late = outcome_to(Call.READ_PAYMENT, "AUTHORIZED")

    assert after_details(status, late, NO_READS) == Step(status, (Act.PERSON,), Trouble.AUTHORIZED_AFTER_END)
    assert after_details(status, outcome_to(Call.READ_PAYMENT, "CREATED"), NO_READS) == Step(status)


UNPAID_NOW = [outcome_to(Call.READ_CODE_PAYMENT, "CREATED"), outcome_to(Call.READ_CODE_PAYMENT, "not found")]
AGREEING = Reads(count=5, absent_in_a_row=0, since=timedelta(seconds=60), unpaid_in_a_row=5)
NOT_ENOUGH = [
    Reads(count=9, absent_in_a_row=4, since=timedelta(seconds=99), unpaid_in_a_row=4),
    Reads(count=9, absent_in_a_row=9, since=timedelta(seconds=59), unpaid_in_a_row=9),
]


@pytest.mark.parametrize("outcome", UNPAID_NOW, ids=["created", "absent"])
def test_a_code_has_ended_once_it_is_off_and_five_reads_agree(outcome: Outcome) -> None:
    unwanted = Known(has_code=True, is_switched_off=True, is_unwanted=True)

    assert after_expiry(outcome, AGREEING, is_switched_off=True) == Step(S.EXPIRED)
    assert after_details(S.CANCELING, outcome, AGREEING, unwanted) == Step(S.CANCELLED_BY_US)
    assert after_expiry(outcome, AGREEING, is_switched_off=False) == Step(S.CANCELING, (Act.LOOK,))
    for reads in NOT_ENOUGH:
        assert after_expiry(outcome, reads, is_switched_off=True) == Step(S.CANCELING, (Act.LOOK,))
        assert after_details(S.CANCELING, outcome, reads, unwanted).status is S.CANCELING
    still_on = Known(has_code=True, is_unwanted=True)
    assert after_details(S.CANCELING, outcome, AGREEING, still_on) == Step(S.CANCELING, (Act.LOOK,))
    assert after_expiry(Unknown("no answer"), AGREEING, is_switched_off=True) == Step(S.CANCELING, (Act.LOOK,))


def test_a_code_that_was_paid_at_the_last_moment_is_kept_or_undone() -> None:
    paid = outcome_to(Call.READ_CODE_PAYMENT, "COMPLETED")
    unwanted = Known(has_code=True, is_switched_off=True, is_unwanted=True)

    assert after_expiry(paid, NO_READS, is_switched_off=True) == Step(S.COMPLETED, (Act.BOOK,))
    assert after_details(S.CANCELING, paid, AGREEING, unwanted) == Step(S.CANCELING, (Act.HOLD, Act.CANCEL))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("200 DELETED", Step(S.CANCELING, (Act.LOOK,))),
        ("400 DYNAMIC_QR_ALREADY_PAID", Step(S.CANCELING, (Act.LOOK,))),
        ("404 DYNAMIC_QR_NOT_FOUND", Step(S.CANCELING, (Act.LOOK,))),
        ("400 DYNAMIC_QR_BAD_REQUEST", Step(S.CANCELING, (Act.LOOK, Act.PERSON), Trouble.CODE_STAYS_ON)),
        ("418 NEVER_SEEN", Step(S.CANCELING, (Act.LOOK, Act.PERSON), Trouble.CODE_STAYS_ON)),
        ("read time-out", Step(S.CANCELING, (Act.DELETE_CODE,))),
    ],
)
def test_a_code_that_cannot_be_switched_off_is_looked_at_and_told_to_a_person(said: str, expected: Step) -> None:
    assert after_deletion(S.CANCELING, outcome_to(Call.DELETE_CODE, said)) == expected


def test_what_was_captured_is_looked_at_until_it_is_known_how_much() -> None:
    step = after_capture(S.AUTHORIZED, outcome_to(Call.CAPTURE_PAYMENT, "400 ALREADY_CAPTURED"))
    unreadable, stale = Unknown("no answer"), outcome_to(Call.READ_PAYMENT, "AUTHORIZED")

    assert step == Step(S.COMPLETED, (Act.LOOK,))
    for outcome in (unreadable, stale):
        assert after_details(S.COMPLETED, outcome, NO_READS) == Step(S.COMPLETED, (Act.LOOK,))
        assert after_details(S.COMPLETED, outcome, NO_READS, Known(booked_as="sales")) == Step(S.COMPLETED)
    paid = outcome_to(Call.READ_PAYMENT, "COMPLETED")
    assert after_details(S.COMPLETED, paid, NO_READS) == Step(S.COMPLETED, (Act.BOOK,))


@pytest.mark.parametrize(
    "said", ["400 UNACCEPTABLE_OP", "400 INVALID_PARAMS", "500 TRANSACTION_FAILED", "404 RESOURCE_NOT_FOUND"]
)
def test_a_refund_that_is_refused_after_a_try_without_a_verdict_is_only_looked_at(said: str) -> None:
    refused = outcome_to(Call.REFUND_PAYMENT, said)

    assert after_refund(S.COMPLETED, refused, is_in_doubt=True) == Step(S.REFUND_UNKNOWN, (Act.REFUND_LOOK,))
    assert after_refund(S.COMPLETED, refused).status is S.COMPLETED


def test_after_such_a_refusal_three_looks_decide_and_the_same_id_is_not_sent_again() -> None:
    absent, found = [outcome_to(Call.READ_REFUND, said) for said in ("404 NO_SUCH_REFUND_ORDER", "200 REFUNDED")]

    for looks in (1, 2):
        looked = after_refund_details(S.REFUND_UNKNOWN, absent, looks=looks, was_refused=True)
        assert looked == Step(S.REFUND_UNKNOWN, (Act.REFUND_LOOK,))
    over = after_refund_details(S.REFUND_UNKNOWN, absent, looks=3, was_refused=True)
    assert over == Step(S.COMPLETED, (Act.LOOK, Act.PERSON), Trouble.REFUND_REFUSED)
    done = after_refund_details(S.REFUND_UNKNOWN, found, looks=1, was_refused=True)
    assert done == Step(S.REFUNDED, (Act.BOOK_REFUND,))


def test_an_authorization_that_is_too_old_to_be_cancelled_is_given_up() -> None:
    authorized = outcome_to(Call.READ_PAYMENT, "AUTHORIZED")

    assert after_details(S.REFUND_NEEDED, authorized, NO_READS) == Step(S.REFUND_NEEDED, (Act.REVERT,))
    assert after_revert(S.REFUND_NEEDED, outcome_to(Call.REVERT_PAYMENT, "200 CANCELED")) == Step(S.CANCELED)
    assert after_details(S.CANCELING, authorized, NO_READS) == Step(S.CANCELING, (Act.CANCEL,))


def test_what_nobody_wants_is_never_a_sale() -> None:
    paid = outcome_to(Call.READ_PAYMENT, "COMPLETED")
    for status in (S.CANCELING, S.CANCEL_ACCEPTED, S.REFUND_NEEDED, *UNPAID):
        assert Act.BOOK not in after_details(status, paid, ENOUGH).acts, status
    for known in (Known(is_unwanted=True), Known(booked_as="suspense")):
        assert after_details(S.MANUAL, paid, ENOUGH, known) == Step(S.MANUAL, (Act.HOLD,))
    assert after_details(S.MANUAL, paid, ENOUGH) == Step(S.COMPLETED, (Act.BOOK,))
    given_back = outcome_to(Call.READ_PAYMENT, "REFUNDED")
    told = Step(S.MANUAL, (Act.HOLD, Act.PERSON), Trouble.CONTRADICTION)
    assert after_details(S.MANUAL, given_back, ENOUGH, Known(booked_as="suspense")) == told


def test_money_in_the_books_is_not_gone_because_paypay_does_not_find_the_payment() -> None:
    absent = outcome_to(Call.READ_PAYMENT, "not found")

    assert after_details(S.CANCELING, absent, ENOUGH).status is S.CANCELLED_BY_US
    booked = after_details(S.CANCELING, absent, ENOUGH, Known(booked_as="sales"))
    assert booked == Step(S.MANUAL, (Act.PERSON,), Trouble.NOT_THERE)


def test_a_cancel_of_what_paypay_does_not_know_is_decided_by_looks() -> None:
    said = outcome_to(Call.CANCEL_PAYMENT, "404 RESOURCE_NOT_FOUND")

    assert after_cancel(S.CANCELING, said, is_in_time=True) == Step(S.CANCELING, (Act.LOOK,))


@pytest.mark.parametrize("case", WINDOW, ids=lambda case: f"{case['paid_at']}-{case['now']}")
def test_the_cancel_window_closes_at_a_quarter_past_midnight_in_japan(case: dict[str, Any]) -> None:
    now = datetime.fromisoformat(case["now"])
    paid_at = datetime.fromisoformat(case["paid_at"] or case["now"])

    assert is_cancel_in_time(paid_at, now, JAPAN) == (case["use"] == "cancel")


def test_held_money_is_undone_where_paypay_says_so_and_somebody_wanted_it_back() -> None:
    failed = outcome_to(Call.READ_PAYMENT, "FAILED")

    wanted_back = after_details(S.MANUAL, failed, NO_READS, Known(booked_as="suspense", is_unwanted=True))
    came_late = after_details(S.MANUAL, failed, NO_READS, Known(booked_as="suspense"))

    assert wanted_back == Step(S.CANCELLED_BY_US)
    assert came_late == Step(S.MANUAL, (Act.PERSON,), Trouble.CONTRADICTION)
