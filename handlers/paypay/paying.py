"""What a shop asks for: a code, a payment, and later its capture, its end, a refund. PayPay hears of it afterwards.

Each order writes its rows and the event that sends it in one transaction; the call is made by ``payments.py``.
Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from handlers.paypay.payment_parts import find_part, is_any_open, open_part
from handlers.paypay.payment_steps import ask as ask_paypay
from handlers.paypay.payment_steps import next_step, take_step, wants_refund, wants_revert
from handlers.paypay.payment_words import UNPAID, PaymentStatus
from handlers.paypay.sessions import settings_of, usable_session
from handlers.paypay.tables_payments import (
    CODE,
    DIRECT,
    DONE,
    OPEN_PARTS,
    REFUSED,
    PayPayCapture,
    PayPayCode,
    PayPayPayment,
    PayPayRefund,
    PayPayRevert,
)
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.paypay import (
    CancelOrder,
    CaptureOrder,
    CodeBody,
    PaymentBody,
    PaymentReply,
    RefundOrder,
    RefundReply,
    RevertOrder,
)

if TYPE_CHECKING:
    from hub.deliver.context import Context

S: Final = PaymentStatus
BACKEND: Final = "shop"
DIRECT_DEBIT: Final = "direct_debit"
POLL_FOR: Final = timedelta(minutes=5)
"""How long a payment may stay CREATED before it is cancelled; a code says so itself."""
CANCELLABLE: Final = frozenset({S.NEW, S.UNKNOWN, S.CREATED, S.AUTHORIZED, S.COMPLETED, S.MANUAL})
REFUNDABLE: Final = frozenset({S.COMPLETED, S.REFUNDED, S.MANUAL})
UNDOING: Final = frozenset({S.CANCELING, S.CANCEL_ACCEPTED, S.REFUND_NEEDED})
UNDONE: Final = frozenset({S.CANCELED, S.CANCELLED_BY_US, S.REFUND_ACCEPTED, S.REFUND_UNKNOWN, S.REFUNDED})
ALIVE: Final = ("AUTHORIZED", "COMPLETED")
"""What PayPay says of a payment that can be cancelled there, whatever had become of it here."""


@handler
async def request_code(body: CodeBody, ctx: Context) -> PaymentReply:
    """Write down a QR code and its payment. Raises RefusedCommand (IDEMPOTENCY_CONFLICT)."""
    wanted = body.model_dump(mode="json", include={"order_items", "redirect_url", "redirect_type"})
    known = await _by_key(body.idempotency_key, ctx)
    if known is not None:
        code = await ctx.session.get(PayPayCode, known.id)
        same = (code is not None and code.wanted == wanted, known.kind == CODE, _terms(known) == _wanted_terms(body))
        return _same(known, is_same=all(same))
    row = _new_payment(CODE, body, ctx)
    ctx.session.add(row)
    await ctx.session.flush()
    ctx.session.add(PayPayCode(payment_id=row.id, wanted=wanted))
    await _begin(row, ctx)
    return reply_of(row)


@handler
async def request_payment(body: PaymentBody, ctx: Context) -> PaymentReply:
    """Write down a payment from a member who has agreed to direct debits.

    Raises RefusedCommand: IDEMPOTENCY_CONFLICT, NOT_LINKED, AUTHORIZATION_EXPIRED.
    """
    known = await _by_key(body.idempotency_key, ctx)
    if known is not None:
        same = (known.kind == DIRECT, known.session_id == body.session_id, _terms(known) == _wanted_terms(body))
        return _same(known, is_same=all(same))
    session = await usable_session(ctx, body.session_id, body.member_id, scope=DIRECT_DEBIT)
    row = _new_payment(DIRECT, body, ctx)
    row.member_id, row.session_id = body.member_id, session.id
    row.user_authorization_id = session.user_authorization_id
    ctx.session.add(row)
    ctx.tag("member_id", body.member_id)
    await _begin(row, ctx)
    return reply_of(row)


@handler
async def order_capture(order: CaptureOrder, ctx: Context) -> PaymentReply:
    """Take what was authorized. Raises RefusedCommand: NOT_FOUND, NOT_CAPTURABLE, AMOUNT_TOO_HIGH."""
    row = await _locked(order.payment_id, ctx)
    amount_jpy = order.amount_jpy or row.amount_jpy
    before = await find_part(PayPayCapture, row.id, order.idempotency_key, ctx)
    if before is not None:
        return _same(row, is_same=before.amount_jpy == amount_jpy)
    if (
        row.state is not S.AUTHORIZED
        or await is_any_open(PayPayCapture, row.id, ctx)
        or await is_any_open(PayPayRevert, row.id, ctx)
    ):
        raise RefusedCommand("NOT_CAPTURABLE", f"the payment is {row.status}, or is being captured or reverted")
    if amount_jpy > row.amount_jpy:
        raise RefusedCommand("AMOUNT_TOO_HIGH", f"at most {row.amount_jpy} yen are authorized")
    part_id = ctx.new_id()
    capture = PayPayCapture(merchant_capture_id=f"cap-{part_id.hex}", amount_jpy=amount_jpy)
    open_part(capture, part_id, row.id, order.idempotency_key, ctx)
    await ask_paypay(row, "capture", ctx, part=part_id)
    return reply_of(row)


@handler
async def order_revert(order: RevertOrder, ctx: Context) -> PaymentReply:
    """Give up an authorization. Raises RefusedCommand: NOT_FOUND, NOT_CAPTURABLE."""
    row = await _locked(order.payment_id, ctx)
    known = select(PayPayRevert.id).where(
        PayPayRevert.payment_id == row.id, PayPayRevert.status.in_((*OPEN_PARTS, DONE))
    )
    if await ctx.session.scalar(known.limit(1)) is not None:
        return reply_of(row)
    if row.state is not S.AUTHORIZED or row.paypay_payment_id is None or await is_any_open(PayPayCapture, row.id, ctx):
        raise RefusedCommand("NOT_CAPTURABLE", f"the payment is {row.status}, or is being captured")
    await wants_revert(row, order.reason, ctx)
    return reply_of(row)


@handler
async def order_cancel(order: CancelOrder, ctx: Context) -> PaymentReply:
    """Undo a payment, whatever it has come to: cancelled in PayPay's time, refunded after it.

    Raises RefusedCommand: NOT_FOUND, NOT_CANCELABLE.
    """
    row = await _locked(order.payment_id, ctx)
    ctx.tag("by", order.operator or BACKEND)
    is_alive = row.state in UNPAID and row.paypay_status in ALIVE
    if row.state in UNDOING:
        # Also one that was only being ended because nobody had paid in time: now it is not welcome any more.
        row.is_unwanted = True
        return reply_of(row)
    if row.state in UNDONE and not is_alive and (row.is_unwanted or row.state in UNPAID):
        return reply_of(row)
    is_busy = (
        await is_any_open(PayPayCapture, row.id, ctx)
        or await is_any_open(PayPayRevert, row.id, ctx)
        or await is_any_open(PayPayRefund, row.id, ctx)
    )
    if not (row.state in CANCELLABLE or is_alive) or is_busy or row.refunded_jpy:
        raise RefusedCommand("NOT_CANCELABLE", f"the payment is {row.status}, or something else of it is under way")
    row.is_unwanted = True
    await take_step(row, await next_step(row, ctx), ctx)
    return reply_of(row)


@handler
async def order_refund(order: RefundOrder, ctx: Context) -> RefundReply:
    """Give money back. Raises RefusedCommand: NOT_FOUND, NOT_REFUNDABLE, AMOUNT_TOO_HIGH, IDEMPOTENCY_CONFLICT."""
    row = await _locked(order.payment_id, ctx)
    before = await find_part(PayPayRefund, row.id, order.idempotency_key, ctx)
    if before is not None:
        if order.amount_jpy not in (None, before.amount_jpy) or before.reason != order.reason:
            raise RefusedCommand("IDEMPOTENCY_CONFLICT", "this idempotency_key was used with other content")
        return refund_reply(before)
    ctx.tag("by", order.operator or BACKEND)
    left_jpy = (row.captured_jpy or 0) - row.refunded_jpy
    made = await _count_refunds(row.id, ctx)
    is_over = not left_jpy or made >= settings_of(ctx).refunds_max or await is_any_open(PayPayRefund, row.id, ctx)
    if row.state not in REFUNDABLE or row.paypay_payment_id is None or is_over:
        raise RefusedCommand("NOT_REFUNDABLE", f"the payment is {row.status}, or was refunded as often as is allowed")
    amount_jpy = order.amount_jpy or left_jpy
    if amount_jpy > left_jpy:
        raise RefusedCommand("AMOUNT_TOO_HIGH", f"at most {left_jpy} yen can be given back")
    return refund_reply(await wants_refund(row, amount_jpy, order.reason, order.idempotency_key, ctx))


def reply_of(row: PayPayPayment) -> PaymentReply:
    """The answer to whoever asked for something of a payment."""
    return PaymentReply(
        payment_id=row.id, merchant_payment_id=row.merchant_payment_id, amount_jpy=row.amount_jpy, status=row.status
    )


def refund_reply(refund: PayPayRefund) -> RefundReply:
    """The answer to whoever asked for a refund."""
    return RefundReply(
        refund_id=refund.id,
        payment_id=refund.payment_id,
        merchant_refund_id=refund.merchant_refund_id,
        amount_jpy=refund.amount_jpy,
        status=refund.status,
    )


def _new_payment(kind: str, body: CodeBody | PaymentBody, ctx: Context) -> PayPayPayment:
    payment_id = ctx.new_id()
    return PayPayPayment(
        id=payment_id,
        kind=kind,
        merchant_payment_id=f"pay-{payment_id.hex}",
        idempotency_key=body.idempotency_key,
        amount_jpy=body.amount_jpy,
        refunded_jpy=0,
        is_authorization=body.is_authorization,
        order_description=body.order_description,
        status=S.NEW,
        requested_at=ctx.now,
        poll_until=ctx.now + POLL_FOR,
        is_unwanted=False,
        bookings=0,
        troubles={},
        reads=0,
        absent_reads=0,
        unpaid_reads=0,
        cancels=0,
        created_at=ctx.now,
        updated_at=ctx.now,
    )


async def _begin(row: PayPayPayment, ctx: Context) -> None:
    await ask_paypay(row, "create", ctx)
    ctx.tag("merchant_payment_id", row.merchant_payment_id)
    ctx.conclude("asked_for")


def _terms(row: PayPayPayment) -> tuple[object, ...]:
    return row.amount_jpy, row.order_description, row.is_authorization, row.member_id


def _wanted_terms(body: CodeBody | PaymentBody) -> tuple[object, ...]:
    member_id = body.member_id if isinstance(body, PaymentBody) else None
    return body.amount_jpy, body.order_description, body.is_authorization, member_id


def _same(row: PayPayPayment, *, is_same: bool) -> PaymentReply:
    if not is_same:
        raise RefusedCommand("IDEMPOTENCY_CONFLICT", "this idempotency_key was used with other content")
    return reply_of(row)


async def _by_key(idempotency_key: str, ctx: Context) -> PayPayPayment | None:
    found = select(PayPayPayment).where(PayPayPayment.idempotency_key == idempotency_key)
    row: PayPayPayment | None = await ctx.session.scalar(found)
    return row


async def _locked(payment_id: UUID, ctx: Context) -> PayPayPayment:
    found = select(PayPayPayment).where(PayPayPayment.id == payment_id).with_for_update()
    row: PayPayPayment | None = await ctx.session.scalar(found)
    if row is None:
        raise RefusedCommand("NOT_FOUND", "no payment has this id")
    ctx.tag("merchant_payment_id", row.merchant_payment_id)
    return row


async def _count_refunds(payment_id: UUID, ctx: Context) -> int:
    found = select(PayPayRefund.status).where(PayPayRefund.payment_id == payment_id)
    return sum(1 for status in await ctx.session.scalars(found) if status != REFUSED)
