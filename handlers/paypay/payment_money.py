"""The money of a payment in the books, and what others hear of it: each step once, whoever learns of it first.

Money that is wanted is a sale. What comes although its payment was cancelled or had ended is in suspense until it is
cancelled, refunded or kept. Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from uuid import UUID

from handlers.paypay import payment_books as books
from handlers.paypay.payment_troubles import (
    SETTLED_BY_MONEY,
    SETTLED_BY_REFUND,
    ask_person,
    close_troubles,
)
from handlers.paypay.payment_words import SALES, SUSPENSE, PaymentStatus, Trouble
from handlers.paypay.tables_payments import DONE, PayPayPayment, PayPayRefund
from schemas.paypay import PaymentResult

if TYPE_CHECKING:
    from hub.deliver.context import Context

Result: TypeAlias = Literal["authorized", "completed", "failed", "canceled", "expired", "refunded"]
BOOKED: Final = "PayPay has taken the money, and it is booked"


async def promise(row: PayPayPayment, ctx: Context) -> None:
    """A user has promised to pay."""
    row.authorized_at = row.authorized_at or ctx.now
    reference = books.authorization_reference(row.id)
    if await ctx.ledger.find(reference) is None:
        await ctx.ledger.post(reference, "authorization", [books.promised(row.amount_jpy)])


async def end_promise(row: PayPayPayment, ctx: Context) -> None:
    """The promise was kept, or is over."""
    original = books.authorization_reference(row.id)
    ended = f"{original}:ended"
    if row.authorized_at is not None and await ctx.ledger.find(ended) is None:
        await ctx.ledger.reverse(original, reference=ended)


async def book(row: PayPayPayment, amount_jpy: int, ctx: Context, *, wanted_jpy: int | None = None) -> None:
    """The money is ours and wanted: a sale, from suspense where it was there.

    ``wanted_jpy`` is what a capture asked for; of an authorization no more than all may be taken.
    """
    if row.booked_as == SALES:
        return
    if row.booked_as == SUSPENSE:
        assert row.captured_jpy is not None
        left_jpy = row.captured_jpy - row.refunded_jpy
        if left_jpy:
            await ctx.ledger.post(f"{_reference(row)}:kept", "payment", [books.kept(left_jpy)])
        row.booked_as = SALES
    else:
        await _take(row, amount_jpy, SALES, ctx, wanted_jpy=wanted_jpy)
    row.completed_at = ctx.now
    close_troubles(row, BOOKED, ctx, only=SETTLED_BY_MONEY)
    await tell(row, "completed", row.captured_jpy or amount_jpy, "", ctx)


async def hold(row: PayPayPayment, amount_jpy: int, ctx: Context) -> None:
    """The money came although nobody wants it any more. Nobody is told of a payment."""
    if row.booked_as is None:
        await _take(row, amount_jpy, SUSPENSE, ctx)


async def undo(row: PayPayPayment, note: str, ctx: Context) -> None:
    """PayPay has given the money back by itself: a cancel worked."""
    if row.booked_as is None or row.refunded_jpy:
        return
    original = _reference(row)
    if await ctx.ledger.find(f"{original}:kept") is not None:
        await ctx.ledger.reverse(f"{original}:kept", reference=f"{original}:kept:undone", note=note)
    await ctx.ledger.reverse(original, reference=f"{original}:undone", note=note)
    row.captured_jpy, row.booked_as = None, None


async def book_refund(row: PayPayPayment, refund: PayPayRefund, said_jpy: int | None, ctx: Context) -> None:
    """Money was given back: as much as PayPay says, which is what was asked for, or a person hears of it."""
    if refund.status == DONE:
        return
    if row.booked_as is None:
        await hold(row, row.amount_jpy, ctx)
    left_jpy = (row.captured_jpy or 0) - row.refunded_jpy
    if said_jpy is not None and said_jpy != refund.amount_jpy:
        ask_person(row, Trouble.AMOUNT_DIFFERS, ctx, part_id=refund.id)
        refund.amount_jpy = max(1, min(said_jpy, left_jpy))
    refund.status, refund.done_at, refund.doubt = DONE, ctx.now, None
    row.refunded_jpy += refund.amount_jpy
    source = books.SALES if row.booked_as == SALES else books.SUSPENSE
    move = books.given_back(refund.amount_jpy, of=source)
    await ctx.ledger.post(books.refund_reference(refund.id), "refund", [move])
    close_troubles(row, "PayPay has given the money back, and it is booked", ctx, only=SETTLED_BY_REFUND)
    await tell(row, "refunded", refund.amount_jpy, refund.reason, ctx, refund_id=refund.id)


def state_of_money(row: PayPayPayment) -> PaymentStatus:
    """Where a payment is whose money came and that nothing is under way of."""
    if row.refunded_jpy:
        return PaymentStatus.REFUNDED
    return PaymentStatus.COMPLETED if row.booked_as == SALES else PaymentStatus.MANUAL


async def tell(
    row: PayPayPayment, result: Result, amount_jpy: int, reason: str, ctx: Context, *, refund_id: UUID | None = None
) -> None:
    """An internal event that the wiring publishes."""
    told = PaymentResult(
        payment_id=row.id,
        merchant_payment_id=row.merchant_payment_id,
        member_id=row.member_id,
        amount_jpy=amount_jpy,
        status=row.status,
        reason=reason,
        paypay_payment_id=row.paypay_payment_id,
        refund_id=refund_id,
        occurred_at=ctx.now,
    )
    # The row is locked and its state has changed in this transaction, so that each is told once.
    await ctx.emit(f"paypay.payment.{result}", told, key=str(row.id))


async def _take(
    row: PayPayPayment, amount_jpy: int, where: str, ctx: Context, *, wanted_jpy: int | None = None
) -> None:
    is_part = row.is_authorization and wanted_jpy is None and amount_jpy <= row.amount_jpy
    if not is_part and amount_jpy != (wanted_jpy or row.amount_jpy):
        ask_person(row, Trouble.AMOUNT_DIFFERS, ctx)
    row.bookings += 1
    row.captured_jpy, row.booked_as = amount_jpy, where
    move = books.taken(amount_jpy) if where == SALES else books.taken_unwanted(amount_jpy)
    await ctx.ledger.post(_reference(row), "payment", [move])
    await end_promise(row, ctx)


def _reference(row: PayPayPayment) -> str:
    return books.payment_reference(row.id, row.bookings)
