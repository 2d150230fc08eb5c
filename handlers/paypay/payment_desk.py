"""What operators do with payments, as functions that return data; ``payment_cli.py`` shows it.

Each order is an event with who and why. Source: docs/providers/paypay.md, "What an operator does".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.paypay.payment_deciding import DECIDED
from handlers.paypay.payment_http import CANCEL, REFUND
from handlers.paypay.payment_steps import STEP
from handlers.paypay.payment_views import find_payment, list_payments
from handlers.paypay.payment_words import PaymentStatus
from hub.errors import UsageError
from schemas.paypay import (
    CancelOrder,
    PaymentDecided,
    PaymentReply,
    PaymentStep,
    PaymentView,
    RefundOrder,
    RefundReply,
)

if TYPE_CHECKING:
    from hub.api import HubApi

STATES: Final = tuple(PaymentStatus)


async def payments(
    api: HubApi, *, status: str | None, member: str | None, is_in_trouble: bool = False, limit: int
) -> Sequence[PaymentView]:
    """Payments, newest first. Raises UsageError for a state that there is not."""
    if status is not None and status.upper() not in STATES:
        raise UsageError(f"--status: expected one of {', '.join(STATES)}, found {status!r}")
    async with api.reading() as session:
        return await list_payments(
            session,
            status=status.upper() if status is not None else None,
            member_id=member,
            is_in_trouble=is_in_trouble,
            limit=limit,
        )


async def show(api: HubApi, payment_id: UUID) -> PaymentView:
    """One payment with its refunds. Raises UsageError when there is none."""
    async with api.reading() as session:
        view = await find_payment(session, payment_id)
    if view is None:
        raise UsageError(f"no payment has the id {payment_id}")
    return view


async def look(api: HubApi, payment_id: UUID) -> None:
    """Have PayPay asked now how it stands; a running hub does it. Raises UsageError when there is none."""
    await show(api, payment_id)
    step = PaymentStep(payment_id=payment_id, operation="details", reason="operator")
    await api.command(STEP, step, key=str(payment_id))


async def settle(api: HubApi, decided: PaymentDecided) -> str:
    """Settle a payment as PayPay's panel shows it; answers the new state. Raises RefusedCommand."""
    status = await api.command(DECIDED, decided, key=str(decided.payment_id))
    assert isinstance(status, str)
    return status


async def cancel(api: HubApi, order: CancelOrder) -> PaymentReply:
    """Undo a payment. Raises RefusedCommand."""
    reply = await api.command(CANCEL, order, key=str(order.payment_id))
    assert isinstance(reply, PaymentReply)
    return reply


async def refund(api: HubApi, order: RefundOrder) -> RefundReply:
    """Give money back. Raises RefusedCommand."""
    reply = await api.command(REFUND, order, key=str(order.payment_id))
    assert isinstance(reply, RefundReply)
    return reply
