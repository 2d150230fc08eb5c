"""What happens at the played PayPal, and the events that tell of it; their bodies have the form of real ones.

Source: https://developer.paypal.com/api/rest/webhooks/event-names/; docs/providers/paypal.md, "Sandbox".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from handlers.paypal.sandbox_book import API_BASE, Book, Row, time_text
from hub.errors import UsageError
from hub.money import Money

FEE_SHARE: Final = Decimal("0.044")
FEE_FIXED: Final = {"USD": "0.30", "EUR": "0.35", "TWD": "10", "JPY": "40"}
MONTH: Final = timedelta(days=30)
STATUS_EVENTS: Final = {
    "ACTIVE": "BILLING.SUBSCRIPTION.ACTIVATED",
    "SUSPENDED": "BILLING.SUBSCRIPTION.SUSPENDED",
    "CANCELLED": "BILLING.SUBSCRIPTION.CANCELLED",
    "EXPIRED": "BILLING.SUBSCRIPTION.EXPIRED",
}


def subscribe(book: Book, asked: Mapping[str, Any], now: datetime) -> Row:
    """A new subscription that waits for its buyer."""
    number = book.number()
    subscription_id = f"I-SANDBOX{number:05d}"
    row: Row = {
        "id": subscription_id,
        "status": "APPROVAL_PENDING",
        "plan_id": asked["plan_id"],
        "quantity": "1",
        "create_time": time_text(now),
        "update_time": time_text(now),
        "status_update_time": time_text(now),
        "subscriber": asked.get("subscriber", {}),
        "application_context": asked.get("application_context", {}),
    }
    if asked.get("custom_id"):
        row["custom_id"] = asked["custom_id"]
    book.subscriptions[subscription_id] = row
    return row


def change_status(book: Book, subscription_id: str, status: str, now: datetime) -> Row:
    """Give a subscription another status; answers with the event that tells of it."""
    row = found(book, subscription_id)
    row |= {"status": status, "status_update_time": time_text(now), "update_time": time_text(now)}
    return tell_subscription(book, row, STATUS_EVENTS[status], now)


def tell_subscription(book: Book, row: Row, event_type: str, now: datetime) -> Row:
    """An event about a subscription as it is now."""
    resource = {name: value for name, value in row.items() if name != "application_context"}
    summary = event_type.replace("BILLING.", "").replace(".", " ").capitalize()
    return envelope(book, event_type, resource, now, resource_type="subscription", summary=summary, version="2.0")


def pay(book: Book, subscription_id: str, now: datetime, *, state: str = "completed", is_held: bool = False) -> Row:
    """A payment of a subscription: its price, with PayPal's fee. Answers with the event."""
    row = found(book, subscription_id)
    price = book.plans[row["plan_id"]]["billing_cycles"][0]["pricing_scheme"]["fixed_price"]
    value, currency = price["value"], price["currency_code"]
    sale: Row = {
        "id": f"SALE{book.number():013d}",
        "state": state,
        "amount": {"total": value, "currency": currency, "details": {"subtotal": value}},
        "payment_mode": "INSTANT_TRANSFER",
        "create_time": time_text(now),
        "update_time": time_text(now),
        "billing_agreement_id": subscription_id,
        "invoice_number": "",
    }
    if row.get("custom_id"):
        sale["custom"] = row["custom_id"]
    if state == "completed":
        sale["transaction_fee"] = {"value": fee_of(value, currency), "currency": currency}
    else:
        sale["reason_code"] = "PAYMENT_REVIEW"
    if is_held:
        sale |= {"payment_hold_status": "HELD", "payment_hold_reasons": ["PAYMENT_HOLD"]}
    book.sales[sale["id"]] = sale
    return tell_sale(book, sale, now)


def tell_sale(book: Book, sale: Row, now: datetime) -> Row:
    """An event about a sale as it is now; told twice, it comes under two ids, as PayPal does at times."""
    event_type = f"PAYMENT.SALE.{sale['state'].upper()}"
    amount = sale["amount"]
    # The summary's amount is a float at PayPal, too: nobody may read it.
    summary = f"Payment {sale['state']} for {float(amount['total'])} {amount['currency']}"
    return envelope(book, event_type, sale, now, resource_type="sale", summary=summary)


def refund(book: Book, sale_id: str, now: datetime, *, value: str | None = None) -> Row:
    """Give back all of a sale, or ``value`` of it. Answers with the event."""
    sale = _sale(book, sale_id)
    back, currency = _take_back(sale, value)
    row: Row = {
        "id": f"REFUND{book.number():011d}",
        "sale_id": sale_id,
        "state": "completed",
        "amount": {"total": back, "currency": currency},
        "refund_to_payer": {"value": back, "currency": currency},
        "create_time": time_text(now),
        "update_time": time_text(now),
    }
    sale.setdefault("refunds", []).append(row["id"])
    summary = f"A {float(back)} {currency} sale payment was refunded"
    return envelope(book, "PAYMENT.SALE.REFUNDED", row, now, resource_type="refund", summary=summary)


def reverse(book: Book, sale_id: str, now: datetime) -> Row:
    """PayPal takes back what is left of a sale; as in its own sample, the event does not say of which."""
    sale = _sale(book, sale_id)
    back, currency = _take_back(sale, None)
    row: Row = {
        "id": f"REVERSAL{book.number():09d}",
        "state": "completed",
        "amount": {"total": f"-{back}", "currency": currency},
        "create_time": time_text(now),
    }
    summary = f"A {float(back)} {currency} sale payment was reversed"
    return envelope(book, "PAYMENT.SALE.REVERSED", row, now, resource_type="sale", summary=summary)


def _sale(book: Book, sale_id: str) -> Row:
    sale = book.sales.get(sale_id)
    if sale is None:
        raise UsageError(f"the sandbox has no sale {sale_id}")
    return sale


def _take_back(sale: Row, value: str | None) -> tuple[str, str]:
    """Take this much of a sale back, or what is left of it; answers with how much, and its currency."""
    total, currency = Decimal(sale["amount"]["total"]), sale["amount"]["currency"]
    gone = Decimal(sale.get("taken_back", "0"))
    try:
        back = Decimal(value) if value is not None else total - gone
    except InvalidOperation as error:
        raise UsageError(f"expected an amount such as 5.00, found {value}") from error
    # Beyond what is left PayPal itself refuses; that the hub does is to be tried, too.
    gone += back
    sale["taken_back"], sale["state"] = f"{gone:f}", "refunded" if gone >= total else "partially_refunded"
    return f"{back:f}", currency


def envelope(
    book: Book,
    event_type: str,
    resource: Mapping[str, Any],
    now: datetime,
    *,
    resource_type: str,
    summary: str,
    version: str | None = None,
) -> Row:
    """The body of an event, remembered."""
    event_id = f"WH-SANDBOX{book.number():010d}-SANDBOX{book.count:010d}"
    href = f"{API_BASE}/v1/notifications/webhooks-events/{event_id}"
    body: Row = {"id": event_id, "event_version": "1.0", "create_time": time_text(now), "resource_type": resource_type}
    if version is not None:
        body["resource_version"] = version
    links = [
        {"href": href, "rel": "self", "method": "GET"},
        {"href": f"{href}/resend", "rel": "resend", "method": "POST"},
    ]
    # A copy: the resource goes on changing, what was told does not.
    body |= {"event_type": event_type, "summary": summary, "resource": dict(resource), "links": links}
    return book.note(body)


def found(book: Book, subscription_id: str) -> Row:
    """A subscription. Raises UsageError for one that there is not."""
    row = book.subscriptions.get(subscription_id)
    if row is None:
        raise UsageError(f"the sandbox has no subscription {subscription_id}")
    return row


def fee_of(value: str, currency: str) -> str:
    """What PayPal would keep of a payment from abroad: a share and a fixed part."""
    fee = Decimal(value) * FEE_SHARE + Decimal(FEE_FIXED.get(currency, "0.30"))
    scale = Money.zero(currency).decimal
    return f"{fee.quantize(scale):f}"
