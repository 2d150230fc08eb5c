"""What an operation is about, and the request and key that PayPay gets for it.

Source: docs/providers/paypay.md, "Calls" and "Payments".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.client import PayPay
from handlers.paypay.outcomes import Outcome
from handlers.paypay.payment_parts import Part
from handlers.paypay.payment_words import PaymentStatus
from handlers.paypay.tables_payments import (
    CODE,
    PayPayCapture,
    PayPayCode,
    PayPayPayment,
    PayPayRefund,
    PayPayRevert,
)
from handlers.paypay.wire import (
    CapturePayment,
    CreateCode,
    CreatePayment,
    DeleteCode,
    OrderItem,
    ReadPayment,
    ReadRefund,
    RefundPayment,
    RevertPayment,
)
from hub.errors import PermanentError
from schemas.paypay import Operation, PaymentStep

PARTS: Final[Mapping[str, type[Part]]] = {
    "capture": PayPayCapture,
    "revert": PayPayRevert,
    "refund": PayPayRefund,
    "refund_details": PayPayRefund,
}
CODE_SLACK: Final = timedelta(seconds=60)
"""How long after its end a code is read on; after that PayPay lets nobody pay it."""
DESCRIPTION: Final = "payment"
Send: TypeAlias = Callable[[Any, str], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Work:
    """A payment, its code, and the capture, revert or refund that an operation is about."""

    payment: PayPayPayment
    code: PayPayCode | None
    part: Part | None

    @property
    def has_code(self) -> bool:
        """There is a code at PayPay, and it is known."""
        return self.code is not None and self.code.code_id is not None

    @property
    def is_expiring(self) -> bool:
        """Nobody has paid a code in time, and nobody has asked to cancel: what was paid after all is welcome."""
        return self.payment.state is PaymentStatus.CANCELING and self.has_code and not self.payment.is_unwanted

    @property
    def is_code_on(self) -> bool:
        """The code can be paid, and nobody has been seen to."""
        is_unpaid = self.payment.paypay_status in (None, "CREATED")
        return self.code is not None and self.has_code and self.code.deleted_at is None and is_unpaid

    def is_switched_off(self, now: datetime) -> bool:
        """The code cannot be paid any more: it was deleted, or its end has come while that was tried."""
        if self.code is None:
            return False
        ends_at = self.code.expires_at
        is_over = ends_at is not None and now >= ends_at + CODE_SLACK and self.payment.cancels > 0
        return self.code.deleted_at is not None or is_over


async def work_of(session: AsyncSession, step: PaymentStep, *, is_locked: bool) -> Work:
    """The rows, the payment's locked or as it is seen now. Raises PermanentError."""
    found = select(PayPayPayment).where(PayPayPayment.id == step.payment_id)
    row = await session.scalar(found.with_for_update() if is_locked else found)
    if row is None:
        raise PermanentError(f"no payment has the id {step.payment_id}")
    code = await session.get(PayPayCode, step.payment_id)
    table = PARTS.get(step.operation)
    part: Any = await session.get(table, step.part) if table is not None and step.part is not None else None
    if table is not None and part is None:
        raise PermanentError(f"{step.operation} without the row that is meant")
    return Work(row, code, part)


def request_of(operation: Operation, work: Work, client: PayPay) -> tuple[Send, Any, str]:
    """The client's method, the request and the key of an operation. Raises PermanentError."""
    row, part = work.payment, work.part
    name = row.merchant_payment_id
    named = ReadPayment(merchant_payment_id=name)
    match operation, part:
        case "create", _ if work.code is not None:
            return client.create_code, _code(row, work.code), name
        case "create", _:
            return client.preauthorize if row.is_authorization else client.create_payment, _direct(row), name
        case "details", _:
            return client.read_code_payment if row.kind == CODE else client.read_payment, named, name
        case "delete_code", _ if work.code is not None and work.code.code_id is not None:
            return client.delete_code, DeleteCode(code_id=work.code.code_id), name
        case "cancel", _:
            return client.cancel_payment, named, name
        case "capture", PayPayCapture():
            return client.capture_payment, _capture(row, part), part.merchant_capture_id
        case "revert", PayPayRevert():
            return client.revert_payment, _revert(row, part), part.merchant_revert_id
        case "refund", PayPayRefund():
            return client.refund_payment, _refund(row, part), part.merchant_refund_id
        case "refund_details", PayPayRefund():
            looked = ReadRefund(merchant_refund_id=part.merchant_refund_id, payment_id=row.paypay_payment_id or "")
            return client.read_refund, looked, part.merchant_refund_id
        case _:
            raise PermanentError(f"{operation} cannot be asked of this payment")


def _code(row: PayPayPayment, code: PayPayCode) -> CreateCode:
    wanted = code.wanted
    return CreateCode(
        merchant_payment_id=row.merchant_payment_id,
        amount_jpy=row.amount_jpy,
        requested_at=row.requested_at,
        order_description=row.order_description,
        order_items=tuple(OrderItem.model_validate(item) for item in wanted.get("order_items", ())),
        redirect_url=wanted.get("redirect_url"),
        redirect_type=wanted.get("redirect_type", "WEB_LINK"),
        is_authorization=row.is_authorization,
    )


def _direct(row: PayPayPayment) -> CreatePayment:
    return CreatePayment(
        merchant_payment_id=row.merchant_payment_id,
        user_authorization_id=row.user_authorization_id or "",
        amount_jpy=row.amount_jpy,
        requested_at=row.requested_at,
        order_description=row.order_description,
    )


def _capture(row: PayPayPayment, part: PayPayCapture) -> CapturePayment:
    return CapturePayment(
        merchant_payment_id=row.merchant_payment_id,
        merchant_capture_id=part.merchant_capture_id,
        amount_jpy=part.amount_jpy,
        requested_at=part.requested_at,
        order_description=row.order_description or DESCRIPTION,
    )


def _revert(row: PayPayPayment, part: PayPayRevert) -> RevertPayment:
    return RevertPayment(
        merchant_revert_id=part.merchant_revert_id,
        payment_id=row.paypay_payment_id or "",
        requested_at=part.requested_at,
        reason=part.reason,
    )


def _refund(row: PayPayPayment, part: PayPayRefund) -> RefundPayment:
    return RefundPayment(
        merchant_refund_id=part.merchant_refund_id,
        payment_id=row.paypay_payment_id or "",
        amount_jpy=part.amount_jpy,
        requested_at=part.requested_at,
        reason=part.reason,
    )
