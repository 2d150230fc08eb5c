"""Every code that PayPay is known to answer with, by call, and what each one says.

Looked up by (call, codeId), then (call, HTTP status, code), then the codes common to all calls, then the class of the
HTTP status. A codeId alone says little (08100001 is both success and acceptance, UNACCEPTABLE_OP has three), so it only
counts within its call and its class of status. A 4xx that is not listed is for a person, never a silent failure.

Source: docs/providers/paypay.md, "What the answers mean".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from handlers.paypay.outcomes import Verdict


class Call(StrEnum):
    """What is asked of PayPay, in the words of the table below."""

    GIVE_CASHBACK = "give_cashback"
    READ_CASHBACK = "check_cashback_details"
    REVERSE_CASHBACK = "reverse_cashback"
    READ_REVERSAL = "check_reversal_details"
    LINK_ACCOUNT = "create_account_link"
    READ_AUTHORIZATION = "get_user_authorization_status"
    UNLINK = "unlink_user"
    CREATE_CODE = "create_qr_code"
    READ_CODE_PAYMENT = "get_qr_payment_details"
    DELETE_CODE = "delete_qr_code"
    CREATE_PAYMENT = "create_payment"
    PREAUTHORIZE = "preauthorize"
    READ_PAYMENT = "get_payment_details"
    CANCEL_PAYMENT = "cancel_payment"
    CAPTURE_PAYMENT = "capture_payment"
    REVERT_PAYMENT = "revert_payment"
    REFUND_PAYMENT = "refund_payment"
    READ_REFUND = "refund_details"
    REAUTHORIZE = "reauthorize"


@dataclass(frozen=True, slots=True)
class Row:
    """One known answer. ``http_status`` None = with any status; ``code_id`` "" = not published."""

    http_status: int | None
    code_id: str
    code: str
    verdict: Verdict


LISTED_ELSEWHERE: Final[Mapping[Call, str]] = {
    Call.REVERSE_CASHBACK: Call.GIVE_CASHBACK,
    Call.READ_REVERSAL: Call.READ_CASHBACK,
    Call.PREAUTHORIZE: Call.CREATE_PAYMENT,
    Call.READ_CODE_PAYMENT: Call.READ_PAYMENT,
    Call.UNLINK: Call.READ_AUTHORIZATION,
}
"""Calls that answer with the codes of another."""

ROWS: Final[Mapping[str, tuple[Row, ...]]] = {
    "common": (
        Row(200, "08100001", "SUCCESS", Verdict.SUCCESS),
        Row(202, "08100001", "REQUEST_ACCEPTED", Verdict.ACCEPTED),
        Row(400, "08100006", "INVALID_REQUEST_PARAMS", Verdict.REJECTED),
        Row(401, "08100023", "OP_OUT_OF_SCOPE", Verdict.REJECTED),
        Row(400, "08100024", "MISSING_REQUEST_PARAMS", Verdict.REJECTED),
        Row(401, "08100016", "UNAUTHORIZED", Verdict.REJECTED_CONFIG),
        Row(404, "08100007", "OPA_CLIENT_NOT_FOUND", Verdict.REJECTED_CONFIG),
        Row(429, "08100998", "RATE_LIMIT", Verdict.RETRY_SAME_ID),
        Row(500, "08100026", "SERVICE_ERROR", Verdict.UNKNOWN),
        Row(500, "08101000", "INTERNAL_SERVER_ERROR", Verdict.UNKNOWN),
        Row(503, "08100999", "MAINTENANCE_MODE", Verdict.UNKNOWN),
    ),
    "create_qr_code": (
        Row(400, "01652073", "DUPLICATE_DYNAMIC_QR_REQUEST", Verdict.DUPLICATE),
        Row(400, "00400060", "PRE_AUTH_CAPTURE_UNSUPPORTED_MERCHANT", Verdict.REJECTED),
        Row(400, "00400061", "PRE_AUTH_CAPTURE_INVALID_EXPIRY_DATE", Verdict.REJECTED),
        Row(400, "01650000", "DYNAMIC_QR_BAD_REQUEST", Verdict.REJECTED),
    ),
    "get_payment_details": (
        Row(400, "01652075", "DYNAMIC_QR_PAYMENT_NOT_FOUND", Verdict.NOT_FOUND),
        Row(400, "01650000", "DYNAMIC_QR_BAD_REQUEST", Verdict.REJECTED),
        # Not in PayPay's list: what it says of every other thing that is not there.
        Row(404, "", "RESOURCE_NOT_FOUND", Verdict.NOT_FOUND),
    ),
    "delete_qr_code": (
        Row(400, "01652074", "DYNAMIC_QR_ALREADY_PAID", Verdict.REJECTED),
        Row(400, "01650000", "DYNAMIC_QR_BAD_REQUEST", Verdict.REJECTED),
        Row(404, "01652072", "DYNAMIC_QR_NOT_FOUND", Verdict.NOT_FOUND),
    ),
    "cancel_payment": (
        Row(400, "00200044", "ORDER_NOT_REVERSIBLE", Verdict.REJECTED),
        Row(500, "00200034", "INTERNAL_SERVER_ERROR", Verdict.UNKNOWN),
    ),
    "refund_payment": (
        Row(400, "00200004", "INVALID_PARAMS", Verdict.REJECTED),
        Row(400, "00200013", "UNACCEPTABLE_OP", Verdict.REJECTED),
        Row(400, "00200014", "UNACCEPTABLE_OP", Verdict.REJECTED),
        Row(400, "00200015", "INVALID_PARAMS", Verdict.REJECTED),
        Row(400, "01103027", "CANCELED_USER", Verdict.REJECTED),
        Row(404, "00200001", "RESOURCE_NOT_FOUND", Verdict.NOT_FOUND),
        Row(500, "00200002", "TRANSACTION_FAILED", Verdict.FAILED),
        Row(500, "00200003", "TRANSACTION_FAILED", Verdict.FAILED),
        Row(500, "00800017", "TRANSACTION_FAILED", Verdict.FAILED),
        Row(500, "00200034", "INTERNAL_SERVER_ERROR", Verdict.UNKNOWN),
        Row(400, "", "THROTTLED_MULTIPLE_REFUND_REJECTED", Verdict.RETRY_SAME_ID),
        Row(400, "", "REFUND_LIMIT_EXCEEDED", Verdict.REJECTED),
        Row(400, "", "REFUND_WINDOW_EXCEED", Verdict.REJECTED),
        Row(401, "", "USER_STATE_IS_NOT_ACTIVE", Verdict.REJECTED),
        Row(403, "", "MERCHANT_MULTIPLE_REFUND_REJECTED", Verdict.REJECTED),
        Row(404, "", "NO_SUCH_REFUND_ORDER", Verdict.NOT_FOUND),
    ),
    "refund_details": (
        Row(404, "00200018", "NO_SUCH_REFUND_ORDER", Verdict.NOT_FOUND),
        Row(500, "00200034", "INTERNAL_SERVER_ERROR", Verdict.RETRY_READ),
    ),
    "capture_payment": (
        Row(202, "08300103", "USER_CONFIRMATION_REQUIRED", Verdict.WAITING_USER),
        Row(400, "00400035", "UNACCEPTABLE_OP", Verdict.REJECTED),
        Row(400, "00200039", "ALREADY_CAPTURED", Verdict.DUPLICATE),
        Row(400, "01103027", "CANCELED_USER", Verdict.REJECTED),
        Row(400, "00400062", "HIGHER_CAPTURE_NOT_PERMITTED", Verdict.REJECTED),
        Row(400, "00200043", "ORDER_EXPIRED", Verdict.REJECTED),
        Row(400, "00200035", "ORDER_NOT_CAPTURABLE", Verdict.REJECTED),
        Row(400, "00200038", "REAUTHORIZATION_IN_PROGRESS", Verdict.RETRY_NEW_CAPTURE_ID),
        Row(400, "00400064", "TOO_CLOSE_TO_EXPIRY", Verdict.REJECTED),
        Row(400, "", "LIMIT_EXCEEDED", Verdict.REJECTED),
        Row(400, "", "USER_DEFINED_DAILY_LIMIT_EXCEEDED", Verdict.REJECTED),
        Row(400, "", "USER_DEFINED_MONTHLY_LIMIT_EXCEEDED", Verdict.REJECTED),
        Row(400, "", "NO_SUFFICIENT_FUND", Verdict.REJECTED),
        Row(404, "", "RESOURCE_NOT_FOUND", Verdict.NOT_FOUND),
    ),
    "revert_payment": (
        Row(400, "00200042", "ORDER_NOT_CANCELABLE", Verdict.REJECTED),
        Row(404, "", "RESOURCE_NOT_FOUND", Verdict.NOT_FOUND),
    ),
    "create_payment": (
        Row(400, "", "INVALID_PARAMS", Verdict.REJECTED),
        Row(400, "", "UNACCEPTABLE_OP", Verdict.REJECTED),
        Row(400, "", "NO_SUFFICIENT_FUND", Verdict.FAILED),
        Row(500, "", "TRANSACTION_FAILED", Verdict.FAILED),
        Row(500, "", "INTERNAL_SERVER_ERROR", Verdict.UNKNOWN),
    ),
    "any": (
        Row(400, "", "ORDER_NO_LONGER_AVAILABLE", Verdict.REJECTED),
        Row(400, "", "INVALID_PARAMS", Verdict.REJECTED),
    ),
    "reauthorize": (
        Row(201, "08300104", "USER_CONFIRMATION_REQUIRED", Verdict.WAITING_USER),
        Row(400, "", "REAUTHORIZE_REJECTED", Verdict.REJECTED),
        Row(400, "", "PAY_METHOD_INVALIDATED", Verdict.REJECTED),
        Row(400, "", "REAUTH_AMOUNT_UNCHANGED", Verdict.REJECTED),
        Row(400, "", "REAUTH_MAX_LIMIT_EXCEEDED", Verdict.REJECTED),
        Row(400, "", "REAUTHORIZE_FAILED", Verdict.REJECTED),
    ),
    "give_cashback": (
        Row(202, "08100001", "REQUEST_ACCEPTED", Verdict.ACCEPTED),
        Row(400, "", "VALIDATION_FAILED_EXCEPTION", Verdict.DUPLICATE_OR_INVALID),
        Row(400, "", "FAILURE", Verdict.FAILED),
        Row(401, "", "INVALID_USER_AUTHORIZATION_ID", Verdict.REJECTED),
        Row(401, "", "EXPIRED_USER_AUTHORIZATION_ID", Verdict.REJECTED),
        # A gift waits until the contract is repaired; any other operation is refused.
        Row(401, "08100023", "OP_OUT_OF_SCOPE", Verdict.REJECTED_CONFIG),
    ),
    "check_cashback_details": (
        Row(200, "08100001", "SUCCESS", Verdict.READ_STATUS),
        Row(200, "WAL_500017", "NOT_ENOUGH_MONEY", Verdict.FAILED),
        Row(None, "", "TRANSACTION_NOT_FOUND", Verdict.NOT_FOUND_YET),
    ),
    "create_account_link": (Row(400, "08100017", "EXPECTATION_FAILED", Verdict.REJECTED),),
    "get_user_authorization_status": (
        Row(400, "", "CANCELED_USER", Verdict.REJECTED),
        Row(401, "", "INVALID_USER_AUTHORIZATION_ID", Verdict.REJECTED),
    ),
}


def verdict_of(call: Call, *, http_status: int, code: str, code_id: str) -> Verdict:
    """What an answer says that names a code. An answer without one: ``verdict_without_code``."""
    own = ROWS.get(LISTED_ELSEWHERE.get(call, call), ())
    everywhere = (*ROWS["common"], *ROWS["any"])
    found = (
        _first(row for row in own if row.code_id and row.code_id == code_id and _same_class(row, http_status))
        or _first(row for row in own if row.code == code and row.http_status in (None, http_status))
        or _first(row for row in everywhere if row.code == code and row.http_status in (None, http_status))
    )
    return found.verdict if found is not None else verdict_of_status(http_status)


def verdict_of_status(http_status: int) -> Verdict:
    """What the status alone says, of an answer whose code is not listed."""
    if 200 <= http_status < 300:
        return Verdict.SUCCESS
    if http_status == 429:
        return Verdict.RETRY_SAME_ID
    if 400 <= http_status < 500 and http_status != 408:
        return Verdict.MANUAL
    return Verdict.UNKNOWN


def verdict_without_code(http_status: int) -> Verdict:
    """What an answer without a code says: a page of HTML, nothing at all, or a 2xx that says nothing of the result."""
    verdict = verdict_of_status(http_status)
    return Verdict.UNKNOWN if verdict is Verdict.SUCCESS else verdict


def _first(rows: Iterable[Row]) -> Row | None:
    return next(iter(rows), None)


def _same_class(row: Row, http_status: int) -> bool:
    return row.http_status is None or row.http_status // 100 == http_status // 100
