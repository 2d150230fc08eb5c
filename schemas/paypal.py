"""PayPal's messages: webhooks once they are proven or refused, and the record of every one of them.

Amounts are in the currency's minor unit. Ids are PayPal's, texts as they came; ``custom_id`` is opaque.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.paypal_invoices import InvoiceView

WebhookVerdict = Literal["valid", "invalid", "undecided", "simulated"]


class Message(BaseModel):
    """What all of these have in common: they never change once they are read."""

    model_config = ConfigDict(frozen=True)


class WebhookVerified(Message):
    """``paypal.webhook.verified``: PayPal has said this. ``event`` is its body, ``webhook_event_id`` the hub's event.

    ``account`` is which of our accounts it was said to; absent for the main one.

    ``simulated`` ones come from PayPal's simulator: they are recorded, and nothing follows from them.
    """

    webhook_event_id: UUID
    account: str | None = None
    verdict: Literal["valid", "simulated"]
    received_at: datetime
    transmission_id: str
    event_id: str
    event_type: str
    event: Mapping[str, Any]


class WebhookRefused(Message):
    """``paypal.webhook.refused``: nobody proved this, and nothing was done on its word.

    The body is there as it came, as text where it is UTF-8; one that is too large for a message is left out and stands
    in the hub under ``webhook_event_id``.
    """

    webhook_event_id: UUID
    verdict: Literal["invalid", "undecided"]
    reason: str
    received_at: datetime
    headers: Mapping[str, str]
    body: str | None
    body_encoding: Literal["utf-8", "base64", "left_out"]


class EventRecorded(Message):
    """``paypal.event.recorded``: one of every event, whatever became of it. No names, no addresses.

    Of what was not proven (``verdict``), ids and type are only what its sender said.
    """

    record_id: str
    webhook_event_id: UUID
    event_id: str | None = None
    event_type: str
    verdict: WebhookVerdict
    reason: str
    outcome: str
    subscription_id: str | None = None
    custom_id: str | None = None
    payment_id: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    received_at: datetime
    trace_id: str


def _printable_ascii(text: str) -> str:
    # PayPal's published pattern has no end anchor; every character counts.
    if not all(" " <= letter <= "~" for letter in text):
        raise ValueError("expected printable ASCII characters only")
    return text


def _one_at_sign(text: str) -> str:
    local, at, domain = text.partition("@")
    if not (local and at and domain) or "@" in domain or not text.isprintable() or " " in text:
        raise ValueError("expected one @ with something on both sides")
    return text


CustomId = Annotated[str, Field(min_length=1, max_length=127), AfterValidator(_printable_ascii)]
Email = Annotated[str, Field(min_length=3, max_length=254), AfterValidator(_one_at_sign)]
Name = Annotated[str, Field(min_length=1, max_length=140)]
PlanId = Annotated[str, Field(min_length=3, max_length=50, pattern=r"^[A-Za-z0-9_-]+$")]


class SubscriptionBody(Message):
    """What a shop sends to have a buyer subscribed. ``give_name`` is the contract's spelling; both may be given."""

    plan_id: PlanId
    custom_id: CustomId
    give_name: Name = Field(description="The buyer's given name; `given_name` means the same.")
    surname: Name
    email_address: Email
    payer_country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    account: Annotated[str, Field(min_length=1, max_length=50, description="One of HUB_PAYPAL_ACCOUNTS.")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_given_name(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "given_name" not in value:
            return value
        rest = {name: item for name, item in value.items() if name != "given_name"}
        if "give_name" in rest and rest["give_name"] != value["given_name"]:
            raise ValueError("give_name and given_name say different names")
        return {**rest, "give_name": value["given_name"]}


class SubscriptionRequested(SubscriptionBody):
    """``paypal.subscription.requested``: the same by message. The same ``request_id`` is the same subscription."""

    request_id: Annotated[str, Field(min_length=1, max_length=108, pattern=r"^[\x20-\x7E]+$")]


class SubscriptionAnswer(Message):
    """``paypal.subscription.answered``: what became of a request. ``approval_url`` is where the buyer goes next."""

    request_id: str
    state: Literal["created", "refused", "failed"]
    subscription_id: str | None = None
    approval_url: str | None = None
    plan_id: str
    custom_id: str
    issue: str | None = None


class SubscriptionCreated(Message):
    """What ``POST /subscription/create`` answers."""

    approval_url: str
    subscription_id: str


class PlanList(Message):
    """All plans of the account; each is PayPal's own object."""

    plans: list[dict[str, Any]]
    total_items: int


class PaymentView(Message):
    """A payment of a subscription. ``state`` in the words of docs/providers/paypal.md, "Payments"."""

    payment_id: str
    state: str
    amount_minor: int
    currency: str
    updated_at: datetime


class SubscriptionView(Message):
    """A subscription as a shop asks for it. ``status`` is PayPal's word, absent while nothing is known.

    ABANDONED, which is ours: it was not approved within three days.
    """

    subscription_id: str
    custom_id: str | None = None
    plan_id: str | None = None
    status: str | None = None
    last_payment: PaymentView | None = None
    invoice: InvoiceView | None = None


class PaymentChanged(Message):
    """``paypal.payment.settled`` and ``.refunded``: a subscription's payment was booked, or so much of it went back.

    ``reference`` is PayPal's id of the payment or of the refund.
    """

    payment_id: str
    subscription_id: str | None = None
    custom_id: str | None = None
    amount_minor: int
    currency: str
    reference: str


class UnownedPayment(Message):
    """A change of a payment whose owner nobody has named: PayPal is asked before ``change`` is told as ``type``."""

    type: Literal["paypal.payment.settled", "paypal.payment.refunded"]
    account: str | None = None
    change: PaymentChanged


class PaymentCheck(Message):
    """A payment that PayPal had not decided for days is looked at again."""

    payment_id: str
    subscription_id: str
    account: str | None = None
    since: datetime


class TransactionFound(Message):
    """``paypal.transaction.found``: a payment as PayPal lists it, which no webhook has told, or not all of it."""

    payment_id: str
    subscription_id: str
    account: str | None = None
    status: Literal["COMPLETED", "DECLINED", "PARTIALLY_REFUNDED", "PENDING", "REFUNDED"]
    amount_minor: int
    currency: str
    fee_minor: int | None = None
    at: datetime


class EventFetched(Message):
    """``paypal.event.fetched``: an event that was read from PayPal's API, as no webhook has brought it."""

    account: str | None = None
    event: Mapping[str, Any]


class SubscriptionShown(Message):
    """``paypal.subscription.shown``: a subscription as PayPal has it. ``changed_at`` is PayPal's time of it."""

    subscription_id: str
    account: str | None = None
    status: str
    custom_id: str | None = None
    plan_id: str | None = None
    changed_at: datetime | None = None


class ReversalUnresolved(Message):
    """PayPal took money back and did not say of which payment. ``review_event_id`` is whose review is open."""

    event_id: str
    refund_id: str
    account: str | None = None
    amount_minor: int
    currency: str
    fee_minor: int | None = None
    reason_code: str | None = None
    review_event_id: UUID


class SubscriptionAbandoned(Message):
    """``paypal.subscription.abandoned``: its buyer has not approved it for three days. It may still come to life."""

    subscription_id: str
    custom_id: str | None = None
    plan_id: str | None = None


class WebhookFailed(Message):
    """``paypal.webhook.failed``: proven, and the hub could not handle it; it is parked until somebody mends the cause.

    Headers and body are as they came; ``delivery_id`` is what ``hub parked`` lists.
    """

    webhook_event_id: UUID
    event_id: UUID
    delivery_id: int
    route: str
    verdict: Literal["valid", "undecided"]
    reason: str
    received_at: datetime
    headers: Mapping[str, str]
    body: str | None
    body_encoding: Literal["utf-8", "base64", "left_out"]


class RefundOrder(Message):
    """An operator says how much of a payment went back at PayPal, where no event says it. ``by`` and ``note`` are kept.

    ``refund_id`` is PayPal's: the same is never booked twice, whoever tells of it.
    """

    payment_id: str
    refund_id: str
    amount_minor: int
    currency: str
    is_reversal: bool = False
    by: str
    note: str


class PaymentRelease(Message):
    """An operator says that PayPal no longer keeps a payment back. ``by`` and ``note`` are kept."""

    payment_id: str
    by: str
    note: str
