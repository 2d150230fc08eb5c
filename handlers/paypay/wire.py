"""What is asked of PayPay, checked before it leaves, and its spelling on the wire.

The SDK checks little and puts ids into paths unescaped, so nothing gets past these models that PayPay would refuse or
that would change the path. Source: docs/providers/paypay.md, "Calls".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

AMOUNT_JPY_MAX: Final = 99_999_999_999
TEXT_MAX: Final = 255
CURRENCY: Final = "JPY"

OurId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$", strict=True)]
"""An id that we give: unreserved in a path, as long as PayPay takes."""
TheirId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.~-]{1,255}$", strict=True)]
"""An id that PayPay gave: unreserved in a path."""
UserAuthorizationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.~-]{1,64}$", strict=True)]
Yen = Annotated[int, Field(strict=True, ge=1, le=AMOUNT_JPY_MAX)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_MAX, strict=True)]


def _https(value: str) -> str:
    url = urlsplit(value)
    if url.scheme != "https" or not url.hostname:
        raise ValueError("expected https://…")
    return value


class Ask(BaseModel):
    """One call's request: frozen, no unknown field; ``body()`` is what the SDK is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GiveCashback(Ask):
    """Give a user yen of cashback."""

    merchant_cashback_id: OurId
    user_authorization_id: UserAuthorizationId
    amount_jpy: Yen
    requested_at: AwareDatetime
    wallet_type: Literal["PREPAID", "CASHBACK"]
    order_description: Text | None = None

    def body(self) -> dict[str, Any]:
        return _present(
            merchantCashbackId=self.merchant_cashback_id,
            userAuthorizationId=self.user_authorization_id,
            amount=_yen(self.amount_jpy),
            requestedAt=_epoch(self.requested_at),
            walletType=self.wallet_type,
            orderDescription=self.order_description,
        )


class ReverseCashback(Ask):
    """Take back cashback, all or part of it."""

    merchant_cashback_reversal_id: OurId
    merchant_cashback_id: OurId
    amount_jpy: Yen
    requested_at: AwareDatetime
    reason: Text | None = None

    def body(self) -> dict[str, Any]:
        return _present(
            merchantCashbackReversalId=self.merchant_cashback_reversal_id,
            merchantCashbackId=self.merchant_cashback_id,
            amount=_yen(self.amount_jpy),
            requestedAt=_epoch(self.requested_at),
            reason=self.reason,
        )


class ReadCashback(Ask):
    """Which cashback to read; ``urgency`` says who waits for it."""

    merchant_cashback_id: OurId


class ReadReversal(Ask):
    """Which reversal to read."""

    merchant_cashback_reversal_id: OurId
    merchant_cashback_id: OurId


class LinkAccount(Ask):
    """Begin to link a user's PayPay account: PayPay answers with the address of its page."""

    scopes: tuple[Literal["cashback", "direct_debit"], ...] = Field(default=("cashback",), min_length=1)
    nonce: OurId
    redirect_url: Annotated[str, AfterValidator(_https)]
    reference_id: Text
    redirect_type: Literal["WEB_LINK", "APP_DEEP_LINK"] = "WEB_LINK"

    def body(self) -> dict[str, Any]:
        return {
            "scopes": list(self.scopes),
            "nonce": self.nonce,
            "redirectType": self.redirect_type,
            "redirectUrl": self.redirect_url,
            "referenceId": self.reference_id,
        }


class ReadAuthorization(Ask):
    """Whose authorization to read, or to end."""

    user_authorization_id: UserAuthorizationId


class OrderItem(Ask):
    """One line of what is paid for."""

    name: Text
    quantity: Annotated[int, Field(strict=True, ge=1)]
    unit_price_jpy: Yen
    category: Text | None = None
    product_id: Text | None = None

    def body(self) -> dict[str, Any]:
        return _present(
            name=self.name,
            category=self.category,
            quantity=self.quantity,
            productId=self.product_id,
            unitPrice=_yen(self.unit_price_jpy),
        )


class CreateCode(Ask):
    """A QR code for one order. With ``is_authorization`` the payment is only authorized, to be captured later."""

    merchant_payment_id: OurId
    amount_jpy: Yen
    requested_at: AwareDatetime
    order_description: Text | None = None
    order_items: tuple[OrderItem, ...] = ()
    redirect_url: Annotated[str, AfterValidator(_https)] | None = None
    redirect_type: Literal["WEB_LINK", "APP_DEEP_LINK", "WEBVIEW_IN_PAYPAY"] = "WEB_LINK"
    is_authorization: bool = False
    authorization_expiry: AwareDatetime | None = None
    store_id: Text | None = None
    terminal_id: Text | None = None

    def body(self) -> dict[str, Any]:
        return _present(
            merchantPaymentId=self.merchant_payment_id,
            codeType="ORDER_QR",
            amount=_yen(self.amount_jpy),
            orderDescription=self.order_description,
            orderItems=[item.body() for item in self.order_items] or None,
            storeId=self.store_id,
            terminalId=self.terminal_id,
            isAuthorization=self.is_authorization,
            authorizationExpiry=_epoch(self.authorization_expiry),
            redirectUrl=self.redirect_url,
            redirectType=self.redirect_type if self.redirect_url else None,
            requestedAt=_epoch(self.requested_at),
        )


class DeleteCode(Ask):
    """Switch off a code that nobody has paid."""

    code_id: TheirId


class CreatePayment(Ask):
    """Take a payment from a user who has authorized it; or authorize one (``preauthorize``)."""

    merchant_payment_id: OurId
    user_authorization_id: UserAuthorizationId
    amount_jpy: Yen
    requested_at: AwareDatetime
    order_description: Text | None = None
    order_items: tuple[OrderItem, ...] = ()
    store_id: Text | None = None
    terminal_id: Text | None = None
    expires_at: AwareDatetime | None = None

    def body(self) -> dict[str, Any]:
        return _present(
            merchantPaymentId=self.merchant_payment_id,
            userAuthorizationId=self.user_authorization_id,
            amount=_yen(self.amount_jpy),
            requestedAt=_epoch(self.requested_at),
            orderDescription=self.order_description,
            orderItems=[item.body() for item in self.order_items] or None,
            storeId=self.store_id,
            terminalId=self.terminal_id,
            expiresAt=_epoch(self.expires_at),
        )


class ReadPayment(Ask):
    """Which payment to read or to cancel, by the id that we gave."""

    merchant_payment_id: OurId


class CapturePayment(Ask):
    """Take what was authorized. After a time-out look first, then send a new ``merchant_capture_id``."""

    merchant_payment_id: OurId
    merchant_capture_id: OurId
    amount_jpy: Yen
    requested_at: AwareDatetime
    order_description: Text

    def body(self) -> dict[str, Any]:
        return {
            "merchantPaymentId": self.merchant_payment_id,
            "amount": _yen(self.amount_jpy),
            "merchantCaptureId": self.merchant_capture_id,
            "requestedAt": _epoch(self.requested_at),
            "orderDescription": self.order_description,
        }


class RevertPayment(Ask):
    """Give up an authorization. ``payment_id`` is PayPay's."""

    merchant_revert_id: OurId
    payment_id: TheirId
    requested_at: AwareDatetime
    reason: Text | None = None

    def body(self) -> dict[str, Any]:
        return _present(
            merchantRevertId=self.merchant_revert_id,
            paymentId=self.payment_id,
            requestedAt=_epoch(self.requested_at),
            reason=self.reason,
        )


class RefundPayment(Ask):
    """Give money back. ``payment_id`` is PayPay's, not ours."""

    merchant_refund_id: OurId
    payment_id: TheirId
    amount_jpy: Yen
    requested_at: AwareDatetime
    reason: Text | None = None

    def body(self) -> dict[str, Any]:
        return _present(
            merchantRefundId=self.merchant_refund_id,
            paymentId=self.payment_id,
            amount=_yen(self.amount_jpy),
            requestedAt=_epoch(self.requested_at),
            reason=self.reason,
        )


class ReadRefund(Ask):
    """Which refund to read; both ids are needed."""

    merchant_refund_id: OurId
    payment_id: TheirId


class NamesCashback(Protocol):
    """Anything that says which cashback is meant, such as the request that asked for it."""

    @property
    def merchant_cashback_id(self) -> str: ...


class NamesReversal(NamesCashback, Protocol):
    """Anything that says which reversal is meant."""

    @property
    def merchant_cashback_reversal_id(self) -> str: ...


class NamesPayment(Protocol):
    """Anything that says which payment is meant, by our id."""

    @property
    def merchant_payment_id(self) -> str: ...


class NamesRefund(Protocol):
    """Anything that says which refund is meant."""

    @property
    def merchant_refund_id(self) -> str: ...
    @property
    def payment_id(self) -> str: ...


def _yen(amount_jpy: int) -> dict[str, Any]:
    return {"amount": amount_jpy, "currency": CURRENCY}


def _epoch(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def _present(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def only(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The named members that are there."""
    return {name: data[name] for name in names if data.get(name) is not None}
