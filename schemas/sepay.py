"""Messages of the wallet that SePay fills: what SePay sends, what the hub is asked to do, what it tells others.

Amounts are whole dong. Source: docs/providers/sepay.md.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel

TRANSFER_ID_MAX: Final = 2**63 - 1
USER_ID_CHARS_MAX: Final = 255

UserId = Annotated[str, StringConstraints(min_length=1, max_length=USER_ID_CHARS_MAX)]


def _number_of_digits(value: Any) -> Any:
    # Form bodies carry numbers as text; a JSON true would pass for 1.
    if isinstance(value, bool):
        raise ValueError("expected a whole number")
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _whole_if_it_is(value: Any) -> Any:
    # 100000.0 is a whole number of dong; a fraction stays what it is, to be refused by name.
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


def _to_the_second(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Instant = Annotated[datetime, PlainSerializer(_to_the_second, return_type=str, when_used="json")]
"""An instant as the API shows it: ``2024-11-15T10:30:00Z``."""


TransferId = Annotated[
    int,
    Field(ge=0, le=TRANSFER_ID_MAX, strict=True),
    BeforeValidator(_number_of_digits),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": TRANSFER_ID_MAX},
                {"type": "string", "pattern": "^[0-9]+$"},
            ]
        }
    ),
]
"""SePay's number of a transfer; form bodies carry it as text."""


class Transfer(BaseModel):
    """One bank transfer as SePay reports it.

    Only ``id`` is required: it is the transfer's identity. Every other field is judged by the handler, so that money
    with a bad date or direction is kept and shown instead of refused. Unknown fields are kept.
    Source: https://developer.sepay.vn/en/sepay-webhooks/tich-hop-webhook.
    """

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)

    id: TransferId
    gateway: object = None
    transaction_date: object = None
    account_number: object = None
    sub_account: object = None
    code: object = None
    content: object = None
    transfer_type: object = None
    transfer_amount: object = None
    accumulated: object = None
    reference_code: object = None
    description: object = None


class TopupRequested(BaseModel):
    """A user wants to put money into the wallet by bank transfer; answered with ``TopupReply``."""

    model_config = ConfigDict(frozen=True)

    user_id: UserId
    amount: Annotated[object, BeforeValidator(_whole_if_it_is)] = None
    currency: str = "VND"
    bank_code: str | None = None
    expires_in_minutes: object = None
    request_id: str | None = Field(default=None, max_length=255)


class TopupReply(BaseModel):
    """What the payer needs: the amount, where to transfer it, and the content to write."""

    model_config = ConfigDict(frozen=True)

    intent_id: UUID
    order_code: str
    amount: int
    currency: str
    status: str
    qr_image_url: str
    qr_code_url: str
    account_number: str
    account_name: str
    transfer_content: str
    bank_code: str
    expires_at: Instant
    message: str = "Topup request created successfully. Please scan the QR code to complete payment."


class TopupStatus(BaseModel):
    """How far a top-up is; payment and balances are None until the money has come."""

    model_config = ConfigDict(frozen=True)

    intent_id: UUID
    order_code: str
    amount: int
    status: str
    is_expired: bool
    qr_image_url: str | None
    account_number: str | None
    account_name: str | None
    transfer_content: str | None
    bank_code: str | None
    expires_at: Instant
    payment_id: UUID | None
    provider_payment_id: str | None
    balance_before: int | None
    balance_after: int | None
    completed_at: Instant | None
    message: str


class IntentReply(BaseModel):
    """A payment intent as its user sees it."""

    model_config = ConfigDict(frozen=True)

    intent_id: UUID
    order_code: str
    amount: int
    status: str
    purpose: str
    expires_at: Instant
    is_expired: bool
    created_at: Instant
    updated_at: Instant


class WalletReply(BaseModel):
    """A wallet as its user sees it."""

    model_config = ConfigDict(frozen=True)

    wallet_id: UUID
    balance: int
    currency: str
    status: str
    created_at: Instant
    updated_at: Instant


class WalletRequested(BaseModel):
    """Open this user's wallet if there is none yet."""

    model_config = ConfigDict(frozen=True)

    user_id: UserId
    currency: Literal["VND"] = "VND"


class WalletOrder(BaseModel):
    """An operator suspends or activates a wallet; ``by`` and ``reason`` say who and why."""

    model_config = ConfigDict(frozen=True)

    user_id: UserId
    currency: Literal["VND"] = "VND"
    by: str = Field(default="", max_length=255)
    reason: str = Field(default="", max_length=1000)


class WalletCredited(BaseModel):
    """Money has arrived in a wallet. ``ledger_id`` names the journal entry; repeats carry the same ``payment_id``."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    wallet_id: UUID
    ledger_id: UUID
    payment_id: UUID
    amount: int
    currency: str
    balance_after: int


class TransferNeedsReview(BaseModel):
    """A transfer that a person must look at: its money, if any, waits in suspense.

    ``suggested_intent_id`` is the only open intent that begins with the cut code and asks for this amount.
    """

    model_config = ConfigDict(frozen=True)

    event_id: UUID
    sepay_tx_id: int
    outcome: str
    process_error: str
    intent_id: UUID | None = None
    partial_code: str | None = None
    suggested_intent_id: UUID | None = None


class HeldTransferReleased(BaseModel):
    """A wallet is active again: the transfer that was held for it may be credited."""

    model_config = ConfigDict(frozen=True)

    sepay_tx_id: int
