"""The played PayPal's invoices: what they come to, what each status allows, and what is refused.

Source: Invoicing v2; https://developer.paypal.com/invoicing/errors; docs/providers/paypal.md, "Sandbox".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal.invoice_fields import LANGUAGE
from handlers.paypal.sandbox_book import API_BASE, Book, Row, time_text
from hub.errors import HubError

METHODS: Final = ("BANK_TRANSFER", "CASH", "CHECK", "CREDIT_CARD", "DEBIT_CARD", "PAYPAL", "WIRE_TRANSFER", "OTHER")
PAYABLE: Final = ("SENT", "UNPAID", "PARTIALLY_PAID")
PAID: Final = ("PAID", "MARKED_AS_PAID", "PARTIALLY_REFUNDED")
NUMBER_CHARS_MAX: Final = 25
UNKNOWN_SELLER: Final = "nobody@"
"""An address of a seller that begins so is no account of PayPal's."""
_VALUE: Final = re.compile(r"\d{1,10}(\.\d{1,2})?")
_WHOLE: Final = ("HUF", "JPY", "TWD")


class InvoiceRefusedError(HubError):
    """PayPal refuses; ``status`` and ``issue`` are what it answers."""

    def __init__(self, status: int, issue: str) -> None:
        super().__init__(issue)
        self.status = status
        self.issue = issue


def draft(book: Book, asked: Mapping[str, Any], now: datetime) -> Row:
    """A new draft. Raises InvoiceRefusedError."""
    row = _checked(asked)
    number = row["detail"].get("invoice_number") or next_number(book)
    row["detail"]["invoice_number"] = number
    if not book.has_loose_numbers and any(one["detail"]["invoice_number"] == number for one in book.invoices.values()):
        raise InvoiceRefusedError(422, "DUPLICATE_INVOICE_NUMBER")
    id_ = f"INV2-SAND-BOX0-{book.number():08d}"
    row |= {"id": id_, "status": "DRAFT", "mails": 0}
    row["detail"].setdefault("invoice_date", now.date().isoformat())
    row["detail"]["metadata"] = {"create_time": time_text(now)}
    row["links"] = [{"href": f"{API_BASE}/v2/invoicing/invoices/{id_}", "rel": "self", "method": "GET"}]
    book.invoices[id_] = row
    return row


def update(row: Row, asked: Mapping[str, Any], *, is_mailed: bool) -> Row:
    """Everything of an invoice anew; its number and its history stay. Raises InvoiceRefusedError."""
    new = _checked(asked)
    if row["status"] in ("CANCELLED", "REFUNDED"):
        raise InvoiceRefusedError(422, "CANNOT_UPDATE_INVOICE")
    if new["detail"].get("invoice_number") not in (None, row["detail"]["invoice_number"]):
        raise InvoiceRefusedError(422, "CANNOT_CHANGE_INVOICE_NUMBER")
    if row["status"] != "DRAFT" and new["amount"] != row["amount"]:
        raise InvoiceRefusedError(422, "CANNOT_CHANGE_AMOUNT")
    row |= {**new, "detail": {**row["detail"], **new["detail"]}, "mails": row["mails"] + is_mailed}
    return row


def send(row: Row, asked: Mapping[str, Any], now: datetime) -> int:
    """Send an invoice; answers with the status. Sent once, it changes nothing. Raises InvoiceRefusedError."""
    is_mailed = asked.get("send_to_recipient", True)
    if row["status"] == "CANCELLED":
        raise InvoiceRefusedError(422, "INVOICE_CANCELED_ALREADY")
    if row["status"] not in ("DRAFT", "SCHEDULED"):
        return 200
    if is_mailed and not _recipient(row):
        raise InvoiceRefusedError(422, "CANT_SEND_INVOICE_WITHOUT_EMAIL")
    if row["detail"]["invoice_date"] > now.date().isoformat():
        row["status"] = "SCHEDULED"
        return 202
    row |= {"status": "SENT", "due_amount": dict(row["amount"]), "mails": row["mails"] + bool(is_mailed)}
    return 200


def record_payment(book: Book, row: Row, asked: Mapping[str, Any], *, kind: str = "EXTERNAL") -> str:
    """Record a payment, or take the buyer's; answers with its id. Raises InvoiceRefusedError."""
    _check_method(asked)
    if asked.get("payment_id"):
        raise InvoiceRefusedError(404, "RESOURCE_NOT_FOUND")
    if row["status"] not in PAYABLE:
        raise InvoiceRefusedError(422, "CANNOT_PROCESS_PAYMENTS")
    amount, left = _amount(asked, row, default=row["due_amount"]), Decimal(row["due_amount"]["value"])
    if amount > left:
        raise InvoiceRefusedError(422, "PAYMENT_AMOUNT_GREATER_THAN_AMOUNT_DUE")
    payments = row.setdefault("payments", {"paid_amount": _of(row, Decimal(0)), "transactions": []})
    id_ = f"EXTR-SANDBOX{book.number():010d}"
    told = {name: asked[name] for name in ("payment_date", "note") if name in asked}
    payments["transactions"].append(
        {"type": kind, "payment_id": id_, "method": asked["method"], "amount": _of(row, amount), **told}
    )
    payments["paid_amount"] = _of(row, Decimal(payments["paid_amount"]["value"]) + amount)
    row["due_amount"] = _of(row, left - amount)
    if amount < left:
        row["status"] = "PARTIALLY_PAID"
    else:
        row["status"] = "PAID" if kind == "PAYPAL" else "MARKED_AS_PAID"
    return id_


def record_refund(book: Book, row: Row, asked: Mapping[str, Any]) -> str:
    """Record what was given back; answers with its id. Raises InvoiceRefusedError."""
    _check_method(asked)
    if row["status"] not in PAID:
        raise InvoiceRefusedError(422, "CANNOT_PROCESS_REFUNDS")
    paid = Decimal(row["payments"]["paid_amount"]["value"])
    refunds = row.setdefault("refunds", {"refund_amount": _of(row, Decimal(0)), "transactions": []})
    before = Decimal(refunds["refund_amount"]["value"])
    amount = _amount(asked, row, default=_of(row, paid - before))
    if before + amount > paid:
        raise InvoiceRefusedError(422, "INVALID_REFUND_AMOUNT")
    id_ = f"EXTR-SANDBOX{book.number():010d}"
    refunds["transactions"].append({"type": "EXTERNAL", "refund_id": id_, "amount": _of(row, amount)})
    refunds["refund_amount"] = _of(row, before + amount)
    row["status"] = "MARKED_AS_REFUNDED" if before + amount == paid else "PARTIALLY_REFUNDED"
    return id_


def cancel(row: Row) -> None:
    """Take a sent invoice back. Raises InvoiceRefusedError."""
    if row["status"] == "DRAFT":
        raise InvoiceRefusedError(422, "CANNOT_CANCEL_DRAFT_INVOICE")
    if row["status"] not in ("SENT", "UNPAID", "SCHEDULED"):
        raise InvoiceRefusedError(422, "CANNOT_CANCEL_PAID_INVOICE")
    row["status"] = "CANCELLED"


def next_number(book: Book) -> str:
    """The number after the last one, the same for everybody who asks before it is taken: two askers get one."""
    return f"INV-{len(book.invoices) + 1:04d}"


def tell(book: Book, row: Row, event_type: str, now: datetime) -> Row:
    """An event about an invoice as it is now."""
    resource = {"invoice": shown(row)}
    summary = event_type.replace(".", " ").capitalize()
    return deeds.envelope(book, event_type, resource, now, resource_type="invoices", summary=summary, version="2.0")


def shown(row: Row) -> Row:
    """An invoice as PayPal shows it."""
    return {name: value for name, value in row.items() if name != "mails"}


def _checked(asked: Mapping[str, Any]) -> Row:
    row = {name: value for name, value in asked.items() if name in _TAKEN}
    detail, items = row.get("detail"), row.get("items")
    if not isinstance(detail, dict) or not detail.get("currency_code") or not isinstance(items, list) or not items:
        raise InvoiceRefusedError(400, "MISSING_REQUIRED_PARAMETER")
    if len(str(detail.get("invoice_number", ""))) > NUMBER_CHARS_MAX:
        raise InvoiceRefusedError(400, "INVALID_STRING_MAX_LENGTH")
    if any(not isinstance(one, dict) or not {"name", "quantity", "unit_amount"} <= set(one) for one in items):
        raise InvoiceRefusedError(400, "MISSING_REQUIRED_PARAMETER")
    for recipient in row.get("primary_recipients", ()):
        if not LANGUAGE.fullmatch(recipient.get("billing_info", {}).get("language", "en")):
            raise InvoiceRefusedError(400, "INVALID_PARAMETER_SYNTAX")
    if str(row.get("invoicer", {}).get("email_address", "")).startswith(UNKNOWN_SELLER):
        raise InvoiceRefusedError(422, "USER_NOT_FOUND")
    row["amount"] = _total(row)
    return row


_TAKEN: Final = ("detail", "invoicer", "primary_recipients", "additional_recipients", "items", "configuration")


def _total(row: Row) -> Row:
    """What an invoice comes to; a tax is on top unless prices hold it."""
    is_inclusive = row.get("configuration", {}).get("tax_inclusive") is True
    total = Decimal(0)
    for item in row["items"]:
        price, currency = item["unit_amount"].get("value"), item["unit_amount"].get("currency_code")
        if currency != row["detail"]["currency_code"]:
            raise InvoiceRefusedError(422, "CURRENCY_MISMATCH")
        amount = _decimal(price, currency) * _decimal(item["quantity"], "quantity")
        percent = _decimal(item.get("tax", {}).get("percent", "0"), "percent")
        total += amount if is_inclusive else amount + amount * percent / 100
    return _of(row, total)


def _amount(asked: Mapping[str, Any], row: Row, *, default: Row) -> Decimal:
    amount = asked.get("amount", default)
    if not isinstance(amount, Mapping) or amount.get("currency_code") != row["detail"]["currency_code"]:
        raise InvoiceRefusedError(400, "NOT_SUPPORTED")
    value = _decimal(amount.get("value"), row["detail"]["currency_code"])
    if not value:
        raise InvoiceRefusedError(400, "VALUE_CANNOT_BE_ZERO")
    return value


def _check_method(asked: Mapping[str, Any]) -> None:
    if not asked.get("method"):
        raise InvoiceRefusedError(400, "MISSING_REQUIRED_PARAMETER")
    if asked["method"] not in METHODS:
        raise InvoiceRefusedError(400, "INVALID_PAYMENT_METHOD")


def _decimal(text: Any, what: str) -> Decimal:
    try:
        value = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        raise InvoiceRefusedError(400, "INVALID_DECIMAL_VALUE") from None
    if not _VALUE.fullmatch(text) or (what in _WHOLE and value != value.to_integral_value()):
        raise InvoiceRefusedError(422, "DECIMALS_NOT_SUPPORTED" if what in _WHOLE else "INVALID_DECIMAL_VALUE")
    return value


def _of(row: Row, value: Decimal) -> Row:
    currency = row["detail"]["currency_code"]
    scale = Decimal(1) if currency in _WHOLE else Decimal("0.01")
    return {"currency_code": currency, "value": f"{value.quantize(scale):f}"}


def _recipient(row: Row) -> str:
    for one in row.get("primary_recipients", ()):
        return str(one.get("billing_info", {}).get("email_address", ""))
    return ""
