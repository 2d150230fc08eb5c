"""What an invoice says: the payment's own figures under the template's texts.

Number, currency and sum are the payment's; all else the template may replace. Source: Invoicing v2, "Create draft
invoice"; docs/providers/paypal.md, "Invoices".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from handlers.paypal.invoice_template import InvoiceTemplate, merged
from handlers.paypal.tables_invoices import NUMBER_CHARS, PaypalInvoice
from hub.event import stable_hash
from hub.money import Money

PREFIX: Final = "S-"
WHOLE_UNITS: Final = ("HUF", "JPY", "TWD")
"""Currencies that PayPal writes without decimals, whatever their scale is elsewhere."""
REFERENCE_CHARS, ITEM_CHARS, DESCRIPTION_CHARS = 120, 200, 1_000
READ_ONLY: Final = ("id", "parent_id", "status", "due_amount", "gratuity", "payments", "refunds", "links", "amount")
"""What PayPal shows of an invoice and takes in no update."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What else is known of the buyer and the plan; empty where nothing is."""

    plan_id: str = ""
    plan_name: str = ""
    plan_description: str = ""
    email: str = ""
    given_name: str = ""
    surname: str = ""


def invoice_number(payment_id: str) -> str:
    """The number of a payment's invoice: always the same, so that a second one of it cannot be made unseen."""
    number = PREFIX + payment_id
    if len(number) <= NUMBER_CHARS:
        return number
    return PREFIX + stable_hash("paypal invoice number", payment_id).hex()[: NUMBER_CHARS - len(PREFIX)]


def amount_of(row: PaypalInvoice) -> Money:
    """What was paid, and what the invoice comes to."""
    return Money(row.amount_minor, row.currency)


def paypal_money(amount: Money) -> dict[str, str]:
    """An amount as PayPal writes it. One that PayPal cannot write stays as it is, and is refused there."""
    value = amount.decimal
    is_whole = amount.currency in WHOLE_UNITS and value == value.to_integral_value()
    return {"currency_code": amount.currency, "value": f"{value:.0f}" if is_whole else f"{value:f}"}


def body_of(
    row: PaypalInvoice, facts: Facts, texts: InvoiceTemplate, *, seller: str, brand: str, locale: str
) -> dict[str, Any]:
    """The whole invoice. ``seller`` is an address and ``brand`` a name, each empty where PayPal is to take its own."""
    invoicer = {"email_address": seller, "business_name": brand}
    name = {"given_name": facts.given_name, "surname": facts.surname}
    billing = {"name": _said(name), "email_address": facts.email, "language": locale}
    below = {
        "detail": _said({"reference": (row.custom_id or "")[:REFERENCE_CHARS], "invoice_date": row.dated})
        | {"payment_term": {"term_type": "DUE_ON_RECEIPT"}},
        "invoicer": _said(invoicer),
        "primary_recipients": [{"billing_info": _said(billing)}] if facts.email or facts.given_name else [],
        "items": [
            _said(
                {
                    "name": (facts.plan_name or facts.plan_id or "Subscription")[:ITEM_CHARS],
                    "description": facts.plan_description[:DESCRIPTION_CHARS],
                }
            )
        ],
    }
    body: dict[str, Any] = merged(below, texts.filled_in(values_of(row, facts)))
    body["detail"] |= {"invoice_number": row.invoice_number, "currency_code": row.currency}
    body["items"][0] |= {"quantity": "1", "unit_amount": paypal_money(amount_of(row))}
    return _said(body)


def values_of(row: PaypalInvoice, facts: Facts) -> Mapping[str, str]:
    """What the fields of a template stand for."""
    return {
        "plan.id": facts.plan_id,
        "plan.name": facts.plan_name,
        "plan.description": facts.plan_description,
        "subscription.id": row.subscription_id or "",
        "subscriber.given_name": facts.given_name,
        "subscriber.surname": facts.surname,
        "custom_id": row.custom_id or "",
        "payment.id": row.payment_id,
        "payment.amount": paypal_money(amount_of(row))["value"],
        "payment.currency": row.currency,
        "payment.date": row.dated,
        "invoice.number": row.invoice_number,
    }


def recipient_of(body: Mapping[str, Any]) -> str:
    """Whom an invoice is for, as an address; empty where it says none."""
    recipients = body.get("primary_recipients")
    first = recipients[0] if isinstance(recipients, list) and recipients else None
    billing = first.get("billing_info") if isinstance(first, Mapping) else None
    email = billing.get("email_address") if isinstance(billing, Mapping) else None
    return email if isinstance(email, str) else ""


def _said(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value not in ("", {}, [])}
