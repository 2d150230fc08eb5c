"""What PayPal's answers about invoices mean: closed outcomes, decided by status and issue, never by texts.

Source: Invoicing v2; https://developer.paypal.com/invoicing/errors; docs/providers/paypal.md, "Invoices".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from handlers.paypal.client import Answer
from handlers.paypal.invoice_body import amount_of, recipient_of
from handlers.paypal.tables_invoices import PaypalInvoice
from hub.calls.outcome import Declined, LookupOutcome, NotFound, Outcome, Pending, Settled, Unknown
from hub.money import Money, MoneyError

CANCELLED, DRAFT, SCHEDULED = "CANCELLED", "DRAFT", "SCHEDULED"
PAYABLE: Final = ("SENT", "UNPAID", "PARTIALLY_PAID", "PAYMENT_PENDING")
OVER: Final = ("PAID", "MARKED_AS_PAID", "REFUNDED", "PARTIALLY_REFUNDED", "MARKED_AS_REFUNDED")
"""Statuses of invoices on which nothing is due any more."""
ALREADY_SENT: Final = "INVOICE_ALREADY_SENT"
NO_EMAIL: Final = "CANT_SEND_INVOICE_WITHOUT_EMAIL"
NOT_PAYABLE: Final = (
    "PAYMENT_AMOUNT_GREATER_THAN_AMOUNT_DUE",
    "CANNOT_PROCESS_PAYMENTS",
    "CANT_PAY_AN_PAID_OR_CANCELED_INVOICE",
)
"""Issues of recording a payment that may mean that it is recorded."""
NOT_THERE: Final = "INVOICE_NOT_FOUND"
"""Our word for an invoice that PayPal has no more: only a draft can be deleted."""
BY_BUYER: Final = "by_buyer"


def undecided(answer: Answer) -> Outcome:
    """An answer that is not the wished one: refused, or we do not know."""
    if 400 <= answer.status < 500 and answer.status not in (408, 409):
        return Declined(answer.issue)
    return Unknown(f"PayPal answers {answer.status} {answer.issue}")


def is_number_taken(answer: Answer) -> bool:
    """Whether PayPal may have an invoice of this number. The issue's name is not published: each likely one counts."""
    if answer.status not in (409, 422):
        return False
    issue = answer.issue
    return "DUPLICATE" in issue or "ALREADY_EXISTS" in issue or "INVOICE_NUMBER" in issue


def invoice_id_of(body: Any) -> str:
    """The id in the answer to a draft: the whole invoice has it, the short answer only at the end of its link."""
    if not isinstance(body, Mapping):
        return ""
    id_ = body.get("id")
    if isinstance(id_, str) and id_:
        return id_
    links = body.get("links")
    href = body.get("href") or next((one.get("href") for one in _rows(links) if one.get("rel") == "self"), None)
    try:
        return urlsplit(href).path.rpartition("/")[2] if isinstance(href, str) else ""
    except ValueError:  # such as a bracket that is never closed
        return ""


def drafted(row: PaypalInvoice, invoice: Mapping[str, Any], *, is_whole: bool = True) -> Outcome:
    """A draft that is there: ours, if it comes to what was paid. A search need not show the whole invoice."""
    id_ = invoice_id_of(invoice)
    if not id_:
        return Unknown("PayPal shows an invoice without an id")
    data = {"invoice_id": id_, "has_recipient": bool(recipient_of(invoice)) or not is_whole}
    if _total(invoice) != amount_of(row):
        return Declined("TOTAL_DIFFERS", data)
    return Settled(data)


def of_number(row: PaypalInvoice, rows: Any) -> LookupOutcome:
    """The invoice of our number among what a search has found; it may list others that only look like it."""
    found = [one for one in _rows(rows) if _detail(one).get("invoice_number") == row.invoice_number]
    living = [one for one in found if one.get("status") != CANCELLED]
    if len(living) > 1:
        return Declined("SEVERAL_INVOICES")
    if living:
        return drafted(row, living[0], is_whole=False)
    return Declined("INVOICE_CANCELLED") if found else NotFound()


def sent(invoice: Mapping[str, Any]) -> LookupOutcome:
    """Whether an invoice is sent. To send it once more has no effect."""
    match invoice.get("status"):
        case "DRAFT":
            return NotFound(may_repeat=True)
        case "SCHEDULED":
            return Pending("PayPal sends the invoice on its day")
        case "CANCELLED":
            return Declined("INVOICE_CANCELLED")
        case status if status in PAYABLE or status in OVER:
            return Settled()
        case status:
            return Unknown(f"PayPal shows an invoice that is {str(status)[:40]}")


def paid(row: PaypalInvoice, invoice: Mapping[str, Any]) -> LookupOutcome:
    """Whether our payment is recorded on an invoice. ``by_buyer`` tells that somebody has paid it at PayPal, too."""
    payments = invoice.get("payments")
    transactions = _rows(payments.get("transactions")) if isinstance(payments, Mapping) else []
    is_ours = any(row.payment_id in str(one.get("note", "")) for one in transactions)
    by_buyer = any(one.get("type") == "PAYPAL" for one in transactions)
    status = invoice.get("status")
    if is_ours or status in OVER:
        return Settled({BY_BUYER: by_buyer})
    if status == CANCELLED:
        return Declined("INVOICE_CANCELLED")
    return NotFound()


def refunded(row: PaypalInvoice, invoice: Mapping[str, Any], *, before_minor: int, amount_minor: int) -> LookupOutcome:
    """Whether so much is recorded as given back beyond what was before."""
    refunds = invoice.get("refunds")
    told = refunds.get("refund_amount") if isinstance(refunds, Mapping) else None
    back = _money(told) if told is not None else Money.zero(row.currency)
    if back is None or back.currency != row.currency:
        return Unknown("PayPal shows no amount that was given back")
    if back.amount_minor == before_minor:
        return NotFound()
    return Settled() if back.amount_minor >= before_minor + amount_minor else Declined("REFUND_DIFFERS")


def _total(invoice: Mapping[str, Any]) -> Money | None:
    return _money(invoice.get("amount"))


def _money(value: Any) -> Money | None:
    if not isinstance(value, Mapping):
        return None
    try:
        return Money.parse(str(value.get("value")), str(value.get("currency_code")))
    except MoneyError:
        return None


def _detail(invoice: Mapping[str, Any]) -> Mapping[str, Any]:
    detail = invoice.get("detail")
    return detail if isinstance(detail, Mapping) else {}


def _rows(value: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
