"""Every answer that PayPay is known to give, and some that it should not, has its verdict and its outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handlers.paypay.answers import Answer, Asked, facts_from, outcome_of
from handlers.paypay.codes import LISTED_ELSEWHERE, Call, verdict_of, verdict_without_code
from handlers.paypay.outcomes import (
    Declined,
    Facts,
    Outcome,
    PayPayBusyError,
    PayPayPausedError,
    Pending,
    Settled,
    Unknown,
    Verdict,
)
from handlers.paypay.progress import their_id

DATA = Path(__file__).parents[2] / "data/paypay"
CODES: list[dict[str, Any]] = json.loads((DATA / "response_codes.json").read_text())["codes"]
CASHBACK: dict[str, Any] = json.loads((DATA / "cashback_api.json").read_text())
PAYMENTS: dict[str, Any] = json.loads((DATA / "payments_api.json").read_text())
EVERY_CALL = [*Call]


def body(code: str, *, code_id: str = "", **data: object) -> bytes:
    info = {"code": code, "message": "", "codeId": code_id}
    return json.dumps({"resultInfo": info, "data": data or None}).encode()


def judged(call: Call, http_status: int, raw: bytes, **same: str) -> Outcome:
    asked = Asked(call, same)
    return outcome_of(asked, facts_from(asked, Answer(http_status=http_status, body=raw)))


def answered(call: Call, answer: dict[str, Any]) -> Outcome:
    raw = answer["raw"] if "raw" in answer else json.dumps(answer["body"])
    return judged(call, answer["http"], raw.encode())


@pytest.mark.parametrize("row", CODES, ids=lambda row: f"{row['scope']}-{row['http']}-{row['code']}-{row['codeId']}")
def test_a_published_code_has_its_verdict(row: dict[str, Any]) -> None:
    scope, http_status = row["scope"], row["http"] or 404
    calls = [Call(scope)] if scope not in ("common", "any") else [Call.REVERT_PAYMENT, Call.LINK_ACCOUNT]
    calls += [call for call, listed in LISTED_ELSEWHERE.items() if listed == scope]

    for call in calls:
        if row["code"] is None:
            verdict = verdict_without_code(row["http"] or 504)
        else:
            verdict = verdict_of(call, http_status=http_status, code=row["code"], code_id=row["codeId"] or "")
        assert verdict == row["outcome"], call


def test_the_codes_of_the_guide_are_all_there() -> None:
    assert len([row for row in CODES if row["source"] == "SDK guide" and row["codeId"]]) == 44


@pytest.mark.parametrize("call", EVERY_CALL)
def test_no_call_takes_silence_or_a_stranger_for_a_verdict(call: Call) -> None:
    strange = [
        (500, body("SERVICE_ERROR")),
        (502, b"<html><body>Bad Gateway</body></html>"),
        (503, body("MAINTENANCE_MODE", code_id="08100999")),
        (504, b""),
        (200, b"{}"),
        (200, b'{"resultInfo": {}}'),
        (200, b"not json"),
        (200, b'{"resultInfo": {"code": "SUCCESS", "code": "FAILURE"}}'),
        (302, b""),
        (400, body("some_new_code")),
        (404, b"<html>no such page</html>"),
        (200, body("SUCCESS", status="SOMETHING_NEW")),
    ]

    for http_status, raw in strange:
        outcome = judged(call, http_status, raw)

        accepts = call in (Call.GIVE_CASHBACK, Call.REVERSE_CASHBACK, Call.CANCEL_PAYMENT)
        if accepts and http_status == 200 and b"SOMETHING_NEW" in raw:
            assert isinstance(outcome, Pending)
        elif call in (Call.DELETE_CODE, Call.UNLINK) and b"SOMETHING_NEW" in raw:
            assert isinstance(outcome, Settled)
        else:
            assert isinstance(outcome, Unknown), (http_status, raw)
    manual = judged(call, 400, body("some_new_code"))
    assert Facts.of(manual).verdict is Verdict.MANUAL


@pytest.mark.parametrize("call", EVERY_CALL)
def test_429_is_busy_and_a_refused_key_pauses(call: Call) -> None:
    with pytest.raises(PayPayBusyError):
        judged(call, 429, b"<html>slow down</html>")
    with pytest.raises(PayPayPausedError, match="UNAUTHORIZED"):
        judged(call, 401, body("UNAUTHORIZED", code_id="08100016"))


@pytest.mark.parametrize(
    ("call", "http_status", "raw", "expected"),
    [
        # What a gift's refusal means depends on what may have come before it under the same id.
        (Call.GIVE_CASHBACK, 202, body("REQUEST_ACCEPTED", code_id="08100001"), Pending),
        (Call.GIVE_CASHBACK, 200, body("SUCCESS", code_id="08100001"), Pending),
        (Call.GIVE_CASHBACK, 400, body("VALIDATION_FAILED_EXCEPTION"), Unknown),
        (Call.GIVE_CASHBACK, 400, body("FAILURE"), Unknown),
        (Call.GIVE_CASHBACK, 400, body("INVALID_REQUEST_PARAMS", code_id="08100006"), Declined),
        (Call.GIVE_CASHBACK, 401, body("EXPIRED_USER_AUTHORIZATION_ID"), Declined),
        (Call.REVERSE_CASHBACK, 400, body("VALIDATION_FAILED_EXCEPTION"), Unknown),
        # That a thing may not be read does not make it fail.
        (Call.READ_CASHBACK, 400, body("INVALID_REQUEST_PARAMS", code_id="08100006"), Unknown),
        (Call.READ_CASHBACK, 401, body("OP_OUT_OF_SCOPE", code_id="08100023"), Unknown),
        (Call.READ_PAYMENT, 401, body("OP_OUT_OF_SCOPE", code_id="08100023"), Unknown),
        (Call.CREATE_PAYMENT, 401, body("OP_OUT_OF_SCOPE", code_id="08100023"), Declined),
        (Call.GIVE_CASHBACK, 401, body("OP_OUT_OF_SCOPE", code_id="08100023"), PayPayPausedError),
        (Call.READ_AUTHORIZATION, 401, body("INVALID_USER_AUTHORIZATION_ID"), Declined),
        (Call.READ_AUTHORIZATION, 400, body("INVALID_REQUEST_PARAMS", code_id="08100006"), Unknown),
        # What contradicts itself is no answer.
        (Call.READ_CASHBACK, 200, body("NOT_ENOUGH_MONEY", code_id="WAL_500017", status="SUCCESS"), Unknown),
        (Call.READ_CASHBACK, 200, body("NOT_ENOUGH_MONEY", code_id="WAL_500017"), Unknown),
        (Call.READ_CASHBACK, 200, body("NOT_ENOUGH_MONEY", code_id="WAL_500017", status="FAILURE"), Declined),
        (Call.READ_CASHBACK, 500, body("SUCCESS", code_id="08100001", status="FAILURE"), Unknown),
        (Call.CREATE_CODE, 201, body("SUCCESS", code_id="08100001"), Unknown),
        (Call.CREATE_CODE, 400, body("DUPLICATE_DYNAMIC_QR_REQUEST", code_id="01652073"), Unknown),
        (Call.DELETE_CODE, 404, body("DYNAMIC_QR_NOT_FOUND", code_id="01652072"), Settled),
        (Call.CREATE_PAYMENT, 500, body("TRANSACTION_FAILED"), Declined),
        (Call.GIVE_CASHBACK, 500, body("TRANSACTION_FAILED"), Unknown),
        (Call.CAPTURE_PAYMENT, 202, body("USER_CONFIRMATION_REQUIRED", code_id="08300103"), Pending),
        (Call.CAPTURE_PAYMENT, 400, body("REAUTHORIZATION_IN_PROGRESS", code_id="00200038"), Declined),
        (Call.CAPTURE_PAYMENT, 400, body("ALREADY_CAPTURED", code_id="00200039"), Unknown),
        (Call.CANCEL_PAYMENT, 202, body("REQUEST_ACCEPTED", code_id="08100001"), Pending),
        (Call.CANCEL_PAYMENT, 400, body("ORDER_NOT_REVERSIBLE", code_id="00200044"), Declined),
        (Call.REFUND_PAYMENT, 400, body("THROTTLED_MULTIPLE_REFUND_REJECTED"), Declined),
        (Call.READ_REFUND, 200, body("SUCCESS", code_id="08100001", status="REFUND_FAILED"), Pending),
    ],
)
def test_a_verdict_becomes_the_outcome_of_its_call(
    call: Call, http_status: int, raw: bytes, expected: type[object]
) -> None:
    try:
        outcome: object = judged(call, http_status, raw)
    except (PayPayBusyError, PayPayPausedError) as error:
        outcome = error

    assert isinstance(outcome, expected), outcome


@pytest.mark.parametrize(
    ("call", "answers", "expected"),
    [
        (
            Call.GIVE_CASHBACK,
            CASHBACK["give"],
            {"accepted": Pending, "same_id_again": Unknown, "gateway_html": Unknown},
        ),
        (
            Call.READ_CASHBACK,
            CASHBACK["check"],
            {"accepted": Pending, "success": Settled, "failure_not_enough_money": Declined, "not_found": Unknown},
        ),
        (
            Call.READ_REVERSAL,
            CASHBACK["check_reversal"],
            {"accepted": Pending, "success": Settled, "failure": Declined},
        ),
        (
            Call.READ_PAYMENT,
            PAYMENTS["payment_details"],
            {"created": Pending, "reauthorizing": Pending, "completed": Settled, "failed": Declined},
        ),
        (Call.REFUND_PAYMENT, PAYMENTS["refund_payment"], {"created": Pending, "refunded": Settled}),
        (Call.LINK_ACCOUNT, PAYMENTS["account_link"], {"created": Settled, "expectation_failed": Declined}),
        (Call.REVERT_PAYMENT, PAYMENTS["revert_payment"], {"canceled": Settled, "not_cancelable": Declined}),
        (Call.READ_AUTHORIZATION, PAYMENTS["user_authorization_status"], {"active": Settled, "invalid": Declined}),
    ],
    ids=lambda value: value.value if isinstance(value, Call) else "",
)
def test_a_whole_answer_becomes_its_outcome(
    call: Call, answers: dict[str, Any], expected: dict[str, type[object]]
) -> None:
    for name, kind in expected.items():
        assert isinstance(answered(call, answers["answers"][name]), kind), name


def test_the_facts_keep_what_is_needed_and_no_users_id() -> None:
    outcome = answered(Call.READ_CASHBACK, CASHBACK["check"]["answers"]["success"])

    facts = Facts.of(outcome)
    assert (facts.status, facts.amount_jpy, facts.data["cashbackId"]) == ("SUCCESS", 50, "00900000000000000011")
    assert "11111111-2222-3333-4444-555555555555" not in json.dumps(facts.stored())


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0, 0), (99_999_999_999, 99_999_999_999), (100_000_000_000, None), (2**63, None), (-1, None), (True, None)],
)
def test_an_amount_is_one_that_paypay_can_move(amount: object, expected: int | None) -> None:
    raw = body("SUCCESS", code_id="08100001", status="COMPLETED", amount={"amount": amount, "currency": "JPY"})

    assert Facts.of(judged(Call.READ_PAYMENT, 200, raw)).amount_jpy == expected


def test_an_answer_about_another_thing_is_unknown() -> None:
    answer = CASHBACK["check"]["answers"]["success"]
    raw = json.dumps(answer["body"]).encode()

    assert isinstance(judged(Call.READ_CASHBACK, 200, raw, merchantCashbackId="cb-20240101-0001"), Settled)
    assert isinstance(judged(Call.READ_CASHBACK, 200, raw, merchantCashbackId="cb-other"), Unknown)


@pytest.mark.parametrize("given", ["x" * 256, "00\0", ["1"], {"id": 1}, True, 1.5])
def test_what_can_be_no_id_is_nobodys(given: object) -> None:
    read = judged(Call.READ_CASHBACK, 200, body("SUCCESS", status="SUCCESS", cashbackId=given))
    about = judged(
        Call.READ_CASHBACK, 200, body("SUCCESS", status="SUCCESS", merchantCashbackId=given), merchantCashbackId="cb-1"
    )

    # No column that keeps one would take it: the exchange could never be settled.
    assert (type(read), Facts.of(read).data["cashbackId"]) == (Settled, "")
    assert isinstance(about, Unknown)


def test_an_id_that_comes_as_a_number_is_text_and_a_code_holds_only_what_can_be_kept() -> None:
    numbered = judged(Call.READ_CASHBACK, 200, body("SUCCESS", status="ACCEPTED", cashbackId=12))
    strange = judged(Call.READ_CASHBACK, 200, body("SUCCESS\0", status="SUCCESS\0"))

    assert Facts.of(numbered).data["cashbackId"] == "12"
    # It does not become the word that it resembles.
    assert isinstance(strange, Unknown)
    assert (Facts.of(strange).code, Facts.of(strange).status) == ("SUCCESS?", "SUCCESS?")


def test_of_an_answer_about_another_thing_no_id_is_kept() -> None:
    raw = body("SUCCESS", status="SUCCESS", merchantCashbackId="cb-1", cashbackId="9")

    ours, others = (judged(Call.READ_CASHBACK, 200, raw, merchantCashbackId=one) for one in ("cb-1", "cb-2"))

    assert (their_id(ours, "cashbackId"), their_id(others, "cashbackId")) == ("9", None)
