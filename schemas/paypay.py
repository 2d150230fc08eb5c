"""Messages of payments by PayPay: what a shop asks for, what becomes of it, what others hear.

Amounts are whole yen. Source: docs/providers/paypay.md, "Payments" and "Messages".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Key = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,64}$", strict=True)]
MemberId = Annotated[str, StringConstraints(pattern=r"^[^\s#\x00-\x1f\x7f-\x9f]{1,64}$", strict=True)]
Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Yen = Annotated[int, Field(strict=True, ge=1, le=99_999_999_999)]
ITEMS_MAX = 100
URL = r"^https://[^\s/\x00-\x1f]+[^\s\x00-\x1f]*$"
Operation = Literal[
    "create", "details", "delete_code", "cancel", "capture", "revert", "refund", "refund_details"
]  # fmt: skip
"""What PayPay is asked about a payment."""
StepReason = Literal["asked", "timer", "notified", "operator", "last"]
Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255, pattern=r"^[^\x00]+$")]


class Message(BaseModel):
    """Everything here is frozen."""

    model_config = ConfigDict(frozen=True)


class Item(Message):
    """One line of what is paid for."""

    name: Text
    quantity: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
    unit_price_jpy: Yen
    category: Text | None = None
    product_id: Text | None = None


class CodeBody(Message):
    """A QR code for one order. With ``is_authorization`` the money is only authorized, to be captured later."""

    amount_jpy: Yen
    order_description: Text | None = None
    order_items: tuple[Item, ...] = Field(default=(), max_length=ITEMS_MAX)
    redirect_url: Annotated[str, StringConstraints(pattern=URL, max_length=2000)] | None = None
    redirect_type: Literal["WEB_LINK", "APP_DEEP_LINK", "WEBVIEW_IN_PAYPAY"] = "WEB_LINK"
    is_authorization: bool = False
    idempotency_key: Key


class PaymentBody(Message):
    """A payment from a member who has linked an account for direct debit (``session_id``)."""

    member_id: MemberId
    session_id: UUID
    amount_jpy: Yen
    order_description: Text
    is_authorization: bool = False
    idempotency_key: Key


class CaptureOrder(Message):
    """Take what was authorized, all of it unless ``amount_jpy`` says less."""

    payment_id: UUID
    amount_jpy: Yen | None = None
    idempotency_key: Key


class RevertOrder(Message):
    """Give up an authorization."""

    payment_id: UUID
    reason: Text | None = None


class CancelOrder(Message):
    """Undo a payment, or stop it before anybody pays; after PayPay's window it is refunded.

    An operator is named, and says why in ``note``; a shop's backend needs neither.
    """

    payment_id: UUID
    operator: Word | None = None
    note: Word | None = None


class RefundOrder(Message):
    """Give money back, all that is left unless ``amount_jpy`` says less."""

    payment_id: UUID
    amount_jpy: Yen | None = None
    reason: Text
    idempotency_key: Key
    operator: Word | None = None
    """Who orders it, where that is not the shop's backend."""


class PaymentDecided(Message):
    """``paypay.payment.decided``: a person has read at PayPay's panel how a payment stands.

    ``completed``: the money was taken and is kept; ``failed``: no money was taken, or PayPay gave it back by itself;
    ``refunded``: it was given back there. ``amount_jpy`` is what was taken, or given back; default: all of it.
    """

    payment_id: UUID
    decision: Literal["completed", "failed", "refunded"]
    amount_jpy: Yen | None = None
    by: Word
    note: Word


class CaptureBody(Message):
    """As ``CaptureOrder``; the path names the payment."""

    amount_jpy: Yen | None = None
    idempotency_key: Key


class RevertBody(Message):
    """As ``RevertOrder``; the path names the payment."""

    reason: Text | None = None


class RefundBody(Message):
    """As ``RefundOrder``; the path names the payment."""

    amount_jpy: Yen | None = None
    reason: Text
    idempotency_key: Key


class PaymentReply(Message):
    """The answer to whoever asks for something of a payment: it is on its way."""

    payment_id: UUID
    merchant_payment_id: str
    amount_jpy: int
    status: str


class RefundReply(Message):
    """The answer to a refund."""

    refund_id: UUID
    payment_id: UUID
    merchant_refund_id: str
    amount_jpy: int
    status: str


class PaymentStep(Message):
    """PayPay is to be asked something about a payment; ``part`` is the capture, revert or refund that is meant."""

    payment_id: UUID
    operation: Operation
    part: UUID | None = None
    reason: StepReason = "asked"
    tries: int = 0
    """How often this look was taken before without an answer."""
    due: AwareDatetime | None = None
    """When a timer's look was to be taken, which tells it from others of the same payment."""


class PaymentResult(Message):
    """``paypay.payment.authorized|completed|failed|canceled|expired|refunded``: where a payment has come to."""

    payment_id: UUID
    merchant_payment_id: str
    member_id: str | None
    amount_jpy: int
    """Of a refund, what was given back; else what was authorized or taken."""
    status: str
    reason: str = ""
    paypay_payment_id: str | None
    refund_id: UUID | None = None
    occurred_at: AwareDatetime


class RefundView(Message):
    """One refund, as the shop's backend sees it."""

    refund_id: UUID
    payment_id: UUID
    merchant_refund_id: str
    amount_jpy: int
    reason: str
    status: str
    result_code: str | None
    requested_at: AwareDatetime
    refunded_at: AwareDatetime | None


class PaymentView(Message):
    """One payment, as the shop's backend sees it."""

    payment_id: UUID
    kind: Literal["code", "direct"]
    merchant_payment_id: str
    paypay_payment_id: str | None
    member_id: str | None
    amount_jpy: int
    captured_jpy: int | None
    refunded_jpy: int
    booked_as: Literal["sales", "suspense"] | None = None
    """``suspense``: the money came although the payment was cancelled or had ended."""
    is_authorization: bool
    status: str
    result_code: str | None
    requested_at: AwareDatetime
    expires_at: AwareDatetime | None
    completed_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    troubles: tuple[str, ...] = ()
    """What a person was asked to look at."""
    refunds: tuple[RefundView, ...] = ()


class CodeView(PaymentView):
    """A QR code and its payment. The address is there once PayPay has made the code."""

    code_id: str | None
    url: str | None
    deeplink: str | None
    code_expires_at: AwareDatetime | None


class CommandMessage(BaseModel):
    """A command by message: the members that HTTP would take, and ``request_id``, which recognises a repeat."""

    model_config = ConfigDict(frozen=True, extra="allow")

    request_id: Key


class CommandAnswered(Message):
    """``paypay.command.answered``: what HTTP would have answered."""

    request_id: str
    command: str
    reply: dict[str, Any]


class CommandRefused(Message):
    """``paypay.command.refused``: why not, in the codes of HTTP."""

    request_id: str
    command: str
    code: str
    detail: str
