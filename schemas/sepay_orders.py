"""Messages of the shop: what users order, what becomes of it, and what others are told.

Amounts are whole dong; ``license_days`` None = for ever. Requests are read loosely and judged field by field by their
handler, so that every mistake has its own code. Source: docs/providers/sepay-orders.md.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from schemas.sepay import Instant, UserId

ITEMS_MAX: Final = 50
TEXT_CHARS_MAX: Final = 1_000
SYMBOL_ID_MAX: Final = 2**63 - 1
PRICE_MAX: Final = 10**15
DAYS_MAX: Final = 36_500


def _plain(value: Any) -> Any:
    # What is only kept for the client goes out as it came, but a Decimal has no place in JSON.
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value


def _whole_if_it_is(value: Any) -> Any:
    return int(value) if isinstance(value, Decimal) and value == value.to_integral_value() else value


RequestId = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Metadata = Annotated[dict[str, Any], BeforeValidator(_plain)]
_Loose = BeforeValidator(_whole_if_it_is)
Amount = Annotated[
    object,
    _Loose,
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": PRICE_MAX}),
]
OptionalAmount = Annotated[object, _Loose, WithJsonSchema({"type": ["integer", "null"], "minimum": 1})]
Days = Annotated[object, _Loose, WithJsonSchema({"type": ["integer", "null"], "minimum": 1, "maximum": DAYS_MAX})]
Minutes = Annotated[object, _Loose, WithJsonSchema({"type": ["integer", "null"], "minimum": 1, "maximum": 1440})]
SymbolId = Annotated[object, _Loose, WithJsonSchema({"type": "integer", "minimum": 1})]


class Message(BaseModel):
    """Every message of this module is frozen."""

    model_config = ConfigDict(frozen=True)


class Command(Message):
    """What a user wants done. ``request_id`` makes a repeat by message harmless; over HTTP it is used by orders."""

    user_id: UserId
    request_id: RequestId | None = None


class SymbolUpserted(Message):
    """An offer of the catalogue: what ``license_days`` days (None = for ever) of a symbol cost, in dong."""

    symbol_id: Annotated[int, Field(gt=0, le=SYMBOL_ID_MAX)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
    price: Annotated[int, Field(gt=0, le=PRICE_MAX)]
    license_days: Annotated[int, Field(gt=0, le=DAYS_MAX)] | None = None
    active: bool = True


class OrderItem(Message):
    """One licence of an order. A missing ``license_days`` is null: for ever."""

    symbol_id: SymbolId = None
    price: Amount = None
    license_days: Days = None
    metadata: Metadata = Field(default_factory=dict)
    auto_renew: bool = False
    auto_renew_price: OptionalAmount = None
    auto_renew_cycle_days: Days = None


class OrderBody(Message):
    """An order, as its user sends it."""

    items: list[OrderItem] = Field(default_factory=list)
    payment_method: Annotated[str | None, WithJsonSchema({"enum": ["wallet", "sepay_transfer"]})] = None
    description: Annotated[str, StringConstraints(max_length=TEXT_CHARS_MAX)] | None = None
    request_id: RequestId | None = None


class OrderRequested(Command, OrderBody):
    """A user orders licences; answered with ``OrderReply``."""


class OrderCommand(Command):
    """Something is to happen to an order of this user: pay it, make it payable by transfer, cancel it."""

    order_id: UUID


class IntentBody(Message):
    """A payment intent, as its user asks for it."""

    purpose: Annotated[str | None, WithJsonSchema({"enum": ["wallet_topup", "order_payment", "symbol_purchase"]})] = (
        None
    )
    amount: Amount = None
    currency: str = "VND"
    expires_in_minutes: Minutes = None
    return_url: Annotated[str, StringConstraints(max_length=2_000)] | None = None
    cancel_url: Annotated[str, StringConstraints(max_length=2_000)] | None = None
    metadata: Metadata = Field(default_factory=dict)


class IntentRequested(Command, IntentBody):
    """A user asks for a payment intent; answered with ``CreatedIntent``."""


class TopupBody(Message):
    """A top-up, as its user asks for it."""

    amount: Amount = None
    currency: str = "VND"
    bank_code: str | None = None
    expires_in_minutes: Minutes = None


class RenewalCommand(Command):
    """Pause, resume or cancel a subscription of this user."""

    subscription_id: UUID


class CreatedIntent(Message):
    """A new intent: what to transfer, with which content, until when."""

    intent_id: UUID
    order_code: str
    qr_code_url: str | None
    transfer_content: str
    amount: int
    status: str
    expires_at: Instant


class OrderIntent(Message):
    """A new intent for an order. ``shortage`` is what the wallet lacks, where the intent only fills the wallet."""

    intent_id: UUID
    order_code: str
    amount: int
    currency: str
    expires_at: Instant
    qr_code_url: str | None
    message: str
    shortage: int | None = None


class OrderItemReply(Message):
    """One licence of an order, with the name of its symbol."""

    symbol_id: int
    price: int
    license_days: int | None
    symbol_name: str
    metadata: dict[str, Any]
    auto_renew: bool
    auto_renew_price: int | None
    auto_renew_cycle_days: int | None


class OrderReply(Message):
    """An order as it stands after it was asked for; ``shortage`` is what the wallet lacks."""

    order_id: UUID
    total_amount: int
    status: str
    payment_method: str
    items: list[OrderItemReply]
    created_at: Instant
    message: str
    payment_intent_id: UUID | None = None
    qr_code_url: str | None = None
    deep_link: str | None = None
    insufficient_balance: bool = False
    wallet_balance: int | None = None
    shortage: int | None = None


class OrderLine(Message):
    """An order in the history."""

    order_id: UUID
    total_amount: int
    status: str
    payment_method: str
    description: str | None
    items: list[OrderItemReply]
    created_at: Instant
    updated_at: Instant


class OrderHistory(Message):
    """One page of a user's orders, newest first."""

    results: list[OrderLine]
    total: int
    page: int
    limit: int
    total_pages: int


class WalletPaymentReply(Message):
    """An order has been paid from the wallet. Licences that were extended are not counted as created."""

    success: Literal[True] = True
    message: str = "Payment processed successfully"
    order_id: UUID
    amount_charged: int
    wallet_balance_after: int
    licenses_created: int
    subscriptions_updated: int


class AccessReply(Message):
    """Whether the user may use a symbol; without access ``reason`` says why not."""

    has_access: bool
    license_id: UUID | None
    start_at: Instant | None
    end_at: Instant | None
    is_lifetime: bool
    expires_soon: bool
    reason: Literal["no_license", "expired", "suspended", "revoked"] | None = None


class LicenseReply(Message):
    """One licence of the user."""

    license_id: UUID
    symbol_id: int
    status: str
    start_at: Instant
    end_at: Instant | None
    is_lifetime: bool
    is_active: bool
    order_id: UUID | None
    created_at: Instant


class SubscriptionReply(Message):
    """What renews itself, when next, and how often it has failed in a row."""

    subscription_id: UUID
    symbol_id: int
    status: str
    price: int
    cycle_days: int
    next_billing_at: Instant | None
    last_attempt_at: Instant | None
    last_success_at: Instant | None
    consecutive_failures: int
    current_license_id: UUID | None
    last_order_id: UUID | None
    created_at: Instant
    updated_at: Instant


class PaymentUser(Message):
    """Whose payments these are, as far as the token says; what it does not say is null."""

    id: int | str
    email: str | None
    first_name: str | None
    last_name: str | None
    is_active: bool | None
    date_joined: str | None


class PaymentLine(Message):
    """One payment intent in the history; ``id`` is the intent's."""

    id: UUID
    order_code: str
    reference_code: str | None
    amount: int
    status: str
    purpose: str
    provider: Literal["sepay"] = "sepay"
    created_at: Instant
    user_id: int | str


class PaymentHistory(Message):
    """One page of a user's payment intents, newest first."""

    total: int
    page: int
    page_size: int
    user: PaymentUser
    results: list[PaymentLine]
