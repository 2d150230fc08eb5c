"""Answers of the sandbox in PayPay's envelope, and reading what it was sent as strictly as PayPay would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from handlers.paypay.wire import AMOUNT_JPY_MAX, CURRENCY
from hub.errors import HubError

ERRORS: Final[Mapping[str, tuple[int, str, str, str]]] = {
    "accepted": (202, "REQUEST_ACCEPTED", "Request accepted", "08100001"),
    "invalid": (400, "INVALID_REQUEST_PARAMS", "Invalid request params", "08100006"),
    "missing": (400, "MISSING_REQUEST_PARAMS", "", "08100024"),
    "unauthorized": (401, "UNAUTHORIZED", "Unauthorized request", "08100016"),
    "busy": (429, "RATE_LIMIT", "Too many requests", "08100998"),
    "internal": (500, "INTERNAL_SERVER_ERROR", "Something went wrong on PayPay service side", "08101000"),
    "service": (500, "SERVICE_ERROR", "", "08100026"),
    "maintenance": (503, "MAINTENANCE_MODE", "Sorry, we are down for scheduled maintenance", "08100999"),
    "expectation": (400, "EXPECTATION_FAILED", "", "08100017"),
    "repeated": (400, "VALIDATION_FAILED_EXCEPTION", "validation failed", "UNCONFIRMED"),
    "no_user": (401, "INVALID_USER_AUTHORIZATION_ID", "invalid", "UNCONFIRMED"),
    "old_user": (401, "EXPIRED_USER_AUTHORIZATION_ID", "expired", "UNCONFIRMED"),
    "no_cashback": (404, "TRANSACTION_NOT_FOUND", "transaction not found", "UNCONFIRMED"),
    "same_code": (400, "DUPLICATE_DYNAMIC_QR_REQUEST", "Duplicate Dynamic QR request error", "01652073"),
    "no_code_payment": (400, "DYNAMIC_QR_PAYMENT_NOT_FOUND", "Dynamic QR payment not found", "01652075"),
    "paid_code": (400, "DYNAMIC_QR_ALREADY_PAID", "Dynamic QR already paid", "01652074"),
    "no_code": (404, "DYNAMIC_QR_NOT_FOUND", "Dynamic qr code not found", "01652072"),
    "no_fund": (400, "NO_SUFFICIENT_FUND", "", "UNCONFIRMED"),
    "failed": (500, "TRANSACTION_FAILED", "", "UNCONFIRMED"),
    "no_payment": (404, "RESOURCE_NOT_FOUND", "", "UNCONFIRMED"),
    "no_order": (404, "RESOURCE_NOT_FOUND", "Order not found", "00200001"),
    "not_reversible": (400, "ORDER_NOT_REVERSIBLE", "Order cannot be reversed", "00200044"),
    "not_refundable": (400, "UNACCEPTABLE_OP", "Order cannot be refunded", "00200013"),
    "refunded_before": (400, "UNACCEPTABLE_OP", "Multiple refund not allowed", "00200014"),
    "refund_amount": (400, "INVALID_PARAMS", "Invalid refund amount", "00200015"),
    "no_refund": (404, "NO_SUCH_REFUND_ORDER", "Refund not found", "00200018"),
    "captured": (400, "ALREADY_CAPTURED", "Cannot capture already captured acquiring order", "00200039"),
    "not_capturable": (400, "ORDER_NOT_CAPTURABLE", "Order is not capturable", "00200035"),
    "expired": (400, "ORDER_EXPIRED", "Order cannot be captured or updated as it has already expired", "00200043"),
    "too_high": (400, "HIGHER_CAPTURE_NOT_PERMITTED", "Merchant not allowed to capture higher amount", "00400062"),
    "not_cancelable": (400, "ORDER_NOT_CANCELABLE", "Order is not cancelable", "00200042"),
}
"""Name → HTTP status, code, message, codeId; "UNCONFIRMED" is no codeId of PayPay's, it has not published one."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    http_status: int
    body: Mapping[str, Any]


class Refusal(HubError):
    """PayPay refuses; ``reply`` says how."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reply = reply_of(name)


def reply_of(name: str, data: Mapping[str, Any] | None = None) -> Reply:
    """One of the answers above."""
    http_status, code, message, code_id = ERRORS[name]
    return Reply(http_status, {"resultInfo": {"code": code, "message": message, "codeId": code_id}, "data": data})


def success(data: Mapping[str, Any], *, http_status: int = 200, code: str = "SUCCESS", code_id: str = "") -> Reply:
    """A success with its data; ``code`` for the failures that PayPay tells with a 200."""
    info = {"code": code, "message": code.capitalize(), "codeId": code_id or "08100001"}
    return Reply(http_status, {"resultInfo": info, "data": data})


def text_of(body: Mapping[str, Any], name: str, *, length_max: int = 64) -> str:
    """A required text. Raises Refusal."""
    value = body.get(name)
    if value is None:
        raise Refusal("missing")
    if not isinstance(value, str) or not 1 <= len(value) <= length_max:
        raise Refusal("invalid")
    return value


def optional_text(body: Mapping[str, Any], name: str) -> str | None:
    """A text that may be left out. Raises Refusal."""
    return None if body.get(name) is None else text_of(body, name, length_max=255)


def yen_of(body: Mapping[str, Any]) -> int:
    """The amount. Raises Refusal."""
    amount = body.get("amount")
    if not isinstance(amount, Mapping) or "amount" not in amount or "currency" not in amount:
        raise Refusal("missing")
    value = amount["amount"]
    if type(value) is not int or not 1 <= value <= AMOUNT_JPY_MAX or amount["currency"] != CURRENCY:
        raise Refusal("invalid")
    return value


def epoch_of(body: Mapping[str, Any], name: str = "requestedAt") -> int:
    """A required time in seconds. Raises Refusal."""
    value = body.get(name)
    if value is None:
        raise Refusal("missing")
    if type(value) is not int:
        raise Refusal("invalid")
    return value


def yen(amount_jpy: int) -> dict[str, Any]:
    """An amount as PayPay writes it."""
    return {"amount": amount_jpy, "currency": CURRENCY}
