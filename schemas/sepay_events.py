"""What the shop tells others: orders, licences, renewals and payments that have come to an end.

Every event names its user. Consumers must tolerate repeats: the ids stay the same. Amounts are whole dong.
Source: docs/providers/sepay-orders.md, "Events".
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict

from schemas.sepay import UserId
from schemas.sepay_orders import Message, RequestId


class OrderPaid(Message):
    """An order has been paid: from the wallet (``payment_id`` None) or by the bank transfer of this payment."""

    order_id: UUID
    user_id: str
    total_amount: int
    payment_method: Literal["wallet", "sepay_transfer"]
    payment_id: UUID | None = None


class OrderCancelled(Message):
    """An order was cancelled by its user before it was paid."""

    order_id: UUID
    user_id: str
    total_amount: int


class OrderRefunded(Message):
    """All that a paid order has cost was given back into its user's wallet."""

    order_id: UUID
    user_id: str
    total_amount: int


class LicenseChanged(Message):
    """A licence was activated, extended, shortened, suspended, restored or revoked, has expired or ends soon.

    The event's type says which.

    ``end_at`` is None for a licence without an end.
    """

    license_id: UUID
    user_id: str
    symbol_id: int
    start_at: datetime
    end_at: datetime | None = None


class PaymentExpired(Message):
    """Nobody paid an intent in time. Money that comes later goes to review."""

    intent_id: UUID
    user_id: str
    order_code: str
    amount: int
    purpose: str
    order_id: UUID | None = None


class RenewalDue(Message):
    """A subscription is to be renewed; it names the instant at which it was due, so that a repeat is recognised."""

    subscription_id: UUID
    user_id: str
    due_at: datetime


class RenewalChanged(Message):
    """A renewal went through or failed, or its subscription came to an end; the event's type says which."""

    subscription_id: UUID
    user_id: str
    symbol_id: int
    status: str
    price: int
    order_id: UUID | None = None
    reason: str | None = None
    next_billing_at: datetime | None = None


class CommandMessage(Message):
    """A command that comes by message: whose it is, and the id by which a repeat is known; the rest is as over HTTP."""

    model_config = ConfigDict(frozen=True, extra="allow")

    user_id: UserId
    request_id: RequestId


class CommandAnswered(Message):
    """A command that came by message was carried out; ``reply`` is what HTTP would have answered."""

    request_id: str
    command: str
    user_id: str
    reply: dict[str, Any]


class CommandRefused(Message):
    """A command that came by message was refused, for the reason that HTTP would have given."""

    request_id: str
    command: str
    user_id: str
    code: str
    detail: str
    extra: dict[str, Any]
