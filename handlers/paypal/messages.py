"""What each handler tells others, for the published schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from schemas.paypal import (
    EventRecorded,
    PaymentChanged,
    SubscriptionAnswer,
    WebhookRefused,
    WebhookVerified,
)

EMITS: Final[Mapping[str, type[BaseModel]]] = {
    "paypal.webhook.verified": WebhookVerified,
    "paypal.webhook.refused": WebhookRefused,
    "paypal.payment.settled": PaymentChanged,
    "paypal.payment.refunded": PaymentChanged,
}
"""Events that handlers emit; routing.yaml decides which of them go out."""

_RECORD: Final = {"paypal.event.recorded": EventRecorded}
PUBLISHES: Final[Mapping[str, Mapping[str, type[BaseModel]]]] = {
    "process_webhook": _RECORD,
    "record_refused": _RECORD,
    "create_subscription": {"paypal.subscription.answered": SubscriptionAnswer},
}
"""Handler → routing key → what it sends to the destinations of its route."""
