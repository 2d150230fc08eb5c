"""PayPal's event bodies, both generations of them, read into one form. Pure; what cannot be read is absent.

Branches on ``event_type`` alone: ``resource_type`` is not reliable, ``summary`` prints amounts as floats, and
``create_time`` may name a month 19. Source: docs/providers/paypal.md, "What PayPal sends".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from hub.money import Money, MoneyError

ID_CHARS_MAX: Final = 127
SUBSCRIPTION: Final = "BILLING.SUBSCRIPTION."
SALE_COMPLETED: Final = "PAYMENT.SALE.COMPLETED"
SALE_REFUNDED: Final = "PAYMENT.SALE.REFUNDED"
SALE_REVERSED: Final = "PAYMENT.SALE.REVERSED"
SALES: Final = ("PAYMENT.SALE.COMPLETED", "PAYMENT.SALE.PENDING", "PAYMENT.SALE.DENIED")
UNKNOWN_TYPE: Final = "unknown"
_SALE_LINK: Final = re.compile(r"/v1/payments/sale/([A-Za-z0-9-]{1,127})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaypalEvent:
    """What an event says. ``payment_id`` is a sale's, ``refund_of`` the sale that a refund or reversal names.

    ``account`` is whose webhook told it (None: the main account's), ``country`` the buyer's where it is said.
    ``state`` is the sale's or refund's own, which may be another than the type of the event says.
    ``changed_at`` orders the news of one subscription; None where the event does not say.
    """

    id: str
    type: str
    resource: Mapping[str, Any]
    subscription_id: str | None = None
    custom_id: str | None = None
    plan_id: str | None = None
    status: str | None = None
    account: str | None = None
    country: str | None = None
    changed_at: datetime | None = None
    email: str | None = None
    payment_id: str | None = None
    refund_id: str | None = None
    refund_of: str | None = None
    state: str | None = None
    amount: Money | None = None
    fee: Money | None = None
    is_held: bool = False
    reason_code: str | None = None

    @property
    def is_payment_complete(self) -> bool:
        """A completed payment of a subscription, above zero. A one-off sale is none."""
        return (
            self.type == SALE_COMPLETED
            and self.state == "completed"
            and self.subscription_id is not None
            and self.amount is not None
            and self.amount.amount_minor > 0
        )


def read_event(body: Mapping[str, Any], payload: bytes = b"") -> PaypalEvent:
    """Read a body. One without an id of its own, which PayPal never sends, is named by its bytes."""
    type_ = text_of(body, "event_type") or UNKNOWN_TYPE
    resource = body.get("resource") if isinstance(body, Mapping) else None
    resource = resource if isinstance(resource, Mapping) else {}
    id_ = text_of(body, "id") or f"sha256:{hashlib.sha256(payload).hexdigest()}"
    if type_.startswith(SUBSCRIPTION):
        return _subscription(id_, type_, resource)
    if type_ in SALES:
        return _sale(id_, type_, resource)
    if type_ in (SALE_REFUNDED, SALE_REVERSED):
        return _refund(id_, type_, resource)
    return PaypalEvent(id=id_, type=type_, resource=resource)


def said(event: PaypalEvent) -> dict[str, Any]:
    """What an event says, without what a delivery or the API puts around it: the same however it was had."""
    return {"event_type": event.type, "resource": event.resource}


def _subscription(id_: str, type_: str, resource: Mapping[str, Any]) -> PaypalEvent:
    # The older form has `state` in mixed case, and the payer's address elsewhere.
    status = text_of(resource, "status") or text_of(resource, "state")
    email = text_of(resource, "subscriber", "email_address", most=254) or text_of(
        resource, "payer", "payer_info", "email", most=254
    )
    country = text_of(resource, "subscriber", "shipping_address", "address", "country_code", most=2) or text_of(
        resource, "payer", "payer_info", "shipping_address", "country_code", most=2
    )
    times = (time_of(resource, name) for name in ("update_time", "status_update_time", "create_time"))
    return PaypalEvent(
        id=id_,
        type=type_,
        resource=resource,
        subscription_id=text_of(resource, "id"),
        custom_id=text_of(resource, "custom_id"),
        plan_id=text_of(resource, "plan_id"),
        status=status.upper() if status else None,
        changed_at=next((time for time in times if time is not None), None),
        email=email,
        country=country,
        reason_code=text_of(resource, "billing_info", "last_failed_payment", "reason_code"),
    )


def _sale(id_: str, type_: str, resource: Mapping[str, Any]) -> PaypalEvent:
    return PaypalEvent(
        id=id_,
        type=type_,
        resource=resource,
        subscription_id=text_of(resource, "billing_agreement_id"),
        custom_id=text_of(resource, "custom"),
        payment_id=text_of(resource, "id"),
        state=text_of(resource, "state"),
        amount=money_of(resource.get("amount"), "total"),
        fee=money_of(resource.get("transaction_fee"), "value"),
        is_held=text_of(resource, "payment_hold_status") == "HELD",
        reason_code=text_of(resource, "reason_code"),
        changed_at=time_of(resource, "update_time") or time_of(resource, "create_time"),
    )


def _refund(id_: str, type_: str, resource: Mapping[str, Any]) -> PaypalEvent:
    amount = money_of(resource.get("amount"), "total", "value")
    fee = money_of(resource.get("refund_from_transaction_fee"), "total", "value")
    return PaypalEvent(
        id=id_,
        type=type_,
        resource=resource,
        refund_id=text_of(resource, "id"),
        refund_of=text_of(resource, "sale_id") or _linked_sale(resource),
        state=text_of(resource, "state"),
        # A reversal says a negative amount.
        amount=abs(amount) if amount is not None else None,
        fee=abs(fee) if fee is not None else None,
        reason_code=text_of(resource, "reason_code") or text_of(resource, "refund_reason_code"),
        changed_at=time_of(resource, "update_time") or time_of(resource, "create_time"),
    )


def _linked_sale(resource: Mapping[str, Any]) -> str | None:
    """The sale that a link names; the address itself is data, and nobody calls it."""
    links = resource.get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, Mapping) and link.get("rel") == "sale" and isinstance(link.get("href"), str):
            found = _SALE_LINK.search(link["href"])
            return found[1] if found else None
    return None


def is_id(text: str) -> bool:
    """Whether a text can be an id of PayPal's."""
    return 0 < len(text) <= ID_CHARS_MAX and text.isascii() and text.isprintable()


def text_of(data: Mapping[str, Any], *path: str, most: int = ID_CHARS_MAX) -> str | None:
    """The text at a path; absent where it is blank, no text, or longer than any that PayPal gives."""
    here: Any = data
    for name in path:
        here = here.get(name) if isinstance(here, Mapping) else None
    return here if isinstance(here, str) and here.strip() and len(here) <= most and "\x00" not in here else None


def money_of(data: object, *members: str) -> Money | None:
    """The amount under the first of these names that is there: the generations of bodies differ in it."""
    if not isinstance(data, Mapping):
        return None
    value = next((data[name] for name in members if name in data), None)
    currency = data.get("currency") or data.get("currency_code")
    if not isinstance(value, str) or not isinstance(currency, str):
        return None
    try:
        return Money.parse(value, currency)
    except MoneyError:
        return None


def time_of(data: Mapping[str, Any], name: str) -> datetime | None:
    text = text_of(data, name)
    try:
        found = datetime.fromisoformat(text) if text else None
        return None if found is None else (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
