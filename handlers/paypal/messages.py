"""What each handler tells others, for the published schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from schemas.paypal import (
    EventRecorded,
    PaymentChanged,
    PaymentCheck,
    ReversalUnresolved,
    SubscriptionAbandoned,
    SubscriptionAnswer,
    TransactionFound,
    UnownedPayment,
    WebhookFailed,
    WebhookRefused,
    WebhookVerified,
)
from schemas.paypal_invoices import InvoiceChanged, InvoiceDue

EMITS: Final[Mapping[str, type[BaseModel]]] = {
    "paypal.webhook.verified": WebhookVerified,
    "paypal.webhook.refused": WebhookRefused,
    "paypal.payment.settled": PaymentChanged,
    "paypal.payment.refunded": PaymentChanged,
    "paypal.payment.unowned": UnownedPayment,
    "paypal.payment.check": PaymentCheck,
    "paypal.transaction.found": TransactionFound,
    "paypal.reversal.unresolved": ReversalUnresolved,
    "paypal.webhook.failed": WebhookFailed,
    "paypal.invoice.due": InvoiceDue,
}
"""Events that handlers emit; routing.yaml decides which of them go out."""

_RECORD: Final = {"paypal.event.recorded": EventRecorded}
PUBLISHES: Final[Mapping[str, Mapping[str, type[BaseModel]]]] = {
    "process_webhook": _RECORD,
    "record_refused": _RECORD,
    "record_failed": _RECORD,
    "apply_transaction": _RECORD,
    "abandon_subscriptions": {"paypal.subscription.abandoned": SubscriptionAbandoned},
    "advance_invoice": {"paypal.invoice.paid": InvoiceChanged, "paypal.invoice.failed": InvoiceChanged},
    "decide_invoice": {"paypal.invoice.waived": InvoiceChanged},
    "create_subscription": {"paypal.subscription.answered": SubscriptionAnswer},
}
"""Handler → routing key → what it sends to the destinations of its route."""
