"""Asking PayPay about payments: one handler, one operation at a time for each payment.

Every operation carries the id that was written down before it left. What is cut off is never sent again by itself: the
payment's details say what became of it. Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.cashback import never_sent_again
from handlers.paypay.client import CALL_S, PayPay, paypay
from handlers.paypay.outcomes import Declined, Facts, Outcome, Pending, Settled, Unknown
from handlers.paypay.payment_states import (
    PaymentStatus,
    Reads,
    Step,
    after_cancel,
    after_capture,
    after_create,
    after_deletion,
    after_details,
    after_poll_end,
    after_refund,
    after_refund_details,
    after_revert,
    after_window,
    is_cancel_in_time,
)
from handlers.paypay.payment_steps import after_look, ask, is_superseded, take_step
from handlers.paypay.progress import looking, rest_if_down
from handlers.paypay.sessions import settings_of
from handlers.paypay.states import is_absent
from handlers.paypay.tables_payments import (
    CLOSED_PARTS,
    CODE,
    DONE,
    PENDING,
    REFUSED,
    UNKNOWN,
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
from hub.capability import calls, handler
from hub.errors import PermanentError
from hub.event import Event
from hub.flow.priority import Priority
from schemas.paypay import Operation, PaymentStep

if TYPE_CHECKING:
    from hub.deliver.context import Context

S: Final = PaymentStatus
PARTS: Final[Mapping[str, type[PayPayCapture] | type[PayPayRevert] | type[PayPayRefund]]] = {
    "capture": PayPayCapture,
    "revert": PayPayRevert,
    "refund": PayPayRefund,
    "refund_details": PayPayRefund,
}
APPLIES: Final[Mapping[str, frozenset[PaymentStatus]]] = {
    "create": frozenset({S.NEW}),
    "delete_code": frozenset({S.CANCELING}),
    "cancel": frozenset({S.CANCELING}),
    "capture": frozenset({S.AUTHORIZED}),
    "revert": frozenset({S.AUTHORIZED}),
    "refund": frozenset({S.COMPLETED, S.REFUND_NEEDED, S.REFUNDED}),
    "refund_details": frozenset({S.REFUND_UNKNOWN, S.REFUND_ACCEPTED}),
}
"""The states in which an operation still makes sense; details are read in all of them."""
CODE_SLACK: Final = timedelta(seconds=60)
"""How long after its end a code is read on."""
HINT_PAUSE: Final = timedelta(seconds=5)
ERROR_MAX: Final = 255
DESCRIPTION: Final = "payment"

Send: TypeAlias = Callable[[Any, str], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Work:
    """A payment, its code, and the capture, revert or refund that an operation is about."""

    payment: PayPayPayment
    code: PayPayCode | None
    part: PayPayCapture | PayPayRevert | PayPayRefund | None

    @property
    def is_expiring(self) -> bool:
        """Nobody has paid a code in time, and nobody has asked to cancel: what was paid after all is welcome."""
        is_known = self.code is not None and self.code.code_id is not None
        return self.payment.state is S.CANCELING and is_known and not self.payment.is_unwanted


@calls("paypay", priority=Priority.MONEY)
async def run_step(step: PaymentStep, ctx: Context) -> None:
    """Ask PayPay one thing about a payment, and do what its answer means.

    Raises: PayPayBusyError and its neighbours, when nothing reached PayPay; the same is asked again.
    """
    async with ctx.reading() as session:
        work = await _work(session, step, is_locked=False)
    row = work.payment
    if not _applies(step, work, ctx):
        ctx.conclude("decided_before")
        return
    if step.operation == "cancel" and not _is_in_time(row, ctx):
        await ctx.begin()
        work = await _work(ctx.session, step, is_locked=True)
        await take_step(work.payment, after_window(work.payment.state), ctx)
        return
    outcome = await _call(step, work, ctx)
    await rest_if_down(outcome, ctx)

    await ctx.begin()
    work = await _work(ctx.session, step, is_locked=True)
    row = work.payment
    ctx.tag("merchant_payment_id", row.merchant_payment_id)
    _note(row, outcome, ctx)
    follow = _followed(step, work, outcome, ctx)
    _note_part(step.operation, work.part, outcome, ctx)
    is_timed = step.reason != "notified"
    reason: str = getattr(outcome, "reason", "")
    await take_step(
        row, follow, ctx, part=work.part, reason=reason, amount_jpy=_taken_jpy(Facts.of(outcome)), is_timed=is_timed
    )
    if step.operation == "details" and Facts.of(outcome).status:
        await after_look(row, ctx)


@handler
async def hint_payment(event: Event, ctx: Context) -> None:
    """A notification names a payment: look at it, at most once in five seconds, whatever it says."""
    data = event.data if isinstance(event.data, dict) else {}
    name = data.get("merchant_order_id")
    found = select(PayPayPayment).where(PayPayPayment.merchant_payment_id == name).with_for_update()
    row = await ctx.session.scalar(found) if isinstance(name, str) else None
    if row is None:
        ctx.conclude("unknown")
        return
    ctx.tag("merchant_payment_id", row.merchant_payment_id)
    if row.hinted_at is not None and row.hinted_at > ctx.now - HINT_PAUSE:
        ctx.conclude("look_is_coming")
        return
    recent = select(func.count()).where(PayPayPayment.hinted_at > ctx.now - HINT_PAUSE)
    if (await ctx.session.scalar(recent) or 0) >= settings_of(ctx).hints_per_s * HINT_PAUSE.total_seconds():
        # Its own timer comes by all the same.
        ctx.conclude("too_many_hints")
        return
    row.hinted_at = ctx.now
    await ask(row, "details", ctx, reason="notified")
    ctx.conclude("look_asked_for")


async def _work(session: AsyncSession, step: PaymentStep, *, is_locked: bool) -> Work:
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


def _applies(step: PaymentStep, work: Work, ctx: Context) -> bool:
    row = work.payment
    if step.operation == "details":
        if step.reason == "timer" and is_superseded(row, ctx):
            return False
        # What PayPay tells of an end may be that it was none.
        return not row.state.is_final or step.reason == "notified"
    return row.state in APPLIES[step.operation] and (work.part is None or work.part.status not in CLOSED_PARTS)


async def _call(step: PaymentStep, work: Work, ctx: Context) -> Outcome:
    send, request, key = _asked(step.operation, work, paypay(ctx), ctx)
    is_read = step.operation in ("details", "refund_details")
    read = looking(send)
    priority = Priority.MONEY
    if is_read:
        priority = Priority.READ if step.reason == "notified" else Priority.POLL
    return await ctx.call(
        step.operation,
        read if is_read else send,
        request,
        key=key,
        lookup=read if is_read else never_sent_again,
        timeout_s=CALL_S,
        priority=priority,
    )


def _asked(operation: Operation, work: Work, client: PayPay, ctx: Context) -> tuple[Send, Any, str]:
    """The client's method, the request and the key of an operation."""
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
            capture = CapturePayment(
                merchant_payment_id=name,
                merchant_capture_id=part.merchant_capture_id,
                amount_jpy=part.amount_jpy,
                requested_at=part.requested_at,
                order_description=row.order_description or DESCRIPTION,
            )
            return client.capture_payment, capture, part.merchant_capture_id
        case "revert", PayPayRevert():
            revert = RevertPayment(
                merchant_revert_id=part.merchant_revert_id,
                payment_id=row.paypay_payment_id or "",
                requested_at=part.requested_at,
                reason=part.reason,
            )
            return client.revert_payment, revert, part.merchant_revert_id
        case "refund", PayPayRefund():
            refund = RefundPayment(
                merchant_refund_id=part.merchant_refund_id,
                payment_id=row.paypay_payment_id or "",
                amount_jpy=part.amount_jpy,
                requested_at=part.requested_at,
                reason=part.reason,
            )
            return client.refund_payment, refund, part.merchant_refund_id
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


def _followed(step: PaymentStep, work: Work, outcome: Outcome, ctx: Context) -> Step:
    """The step that an answer leads to."""
    row = work.payment
    match step.operation:
        case "create":
            _note_code(work, outcome)
            return after_create(row.state, outcome)
        case "details":
            return _after_details(work, outcome, ctx)
        case "delete_code":
            if work.code is not None and isinstance(outcome, Settled):
                work.code.deleted_at = ctx.now
            row.cancels += 1
            return after_deletion(row.state, outcome)
        case "cancel":
            row.cancels += 1
            return after_cancel(row.state, outcome, is_in_time=_is_in_time(row, ctx))
        case "capture":
            return after_capture(row.state, outcome)
        case "revert":
            return after_revert(row.state, outcome)
        case "refund":
            follow = after_refund(row.state, outcome)
            # A second refund that was refused leaves the first.
            is_first = not row.refunded_jpy or follow.status is not S.COMPLETED
            return follow if is_first else Step(S.REFUNDED, follow.acts)
        case "refund_details":
            assert work.part is not None
            work.part.looks += 1
            return after_refund_details(row.state, outcome)


def _after_details(work: Work, outcome: Outcome, ctx: Context) -> Step:
    row = work.payment
    row.next_look_at = None
    row.reads += 1
    row.absent_reads = row.absent_reads + 1 if is_absent(outcome) else 0
    row.reads_since = row.reads_since or ctx.now
    reads = Reads(count=row.reads, absent_in_a_row=row.absent_reads, since=ctx.now - row.reads_since)
    if work.is_expiring and _says_something(outcome):
        return _after_expiry(outcome, reads)
    is_switched_off = work.code is not None and work.code.deleted_at is not None
    follow = after_details(row.state, outcome, reads, is_switched_off=is_switched_off)
    if follow.status is S.CREATED and ctx.now >= row.poll_until:
        return after_poll_end(S.CREATED, has_code=work.code is not None and work.code.code_id is not None)
    return follow


def _after_expiry(outcome: Outcome, reads: Reads) -> Step:
    """The code is switched off: paid at the last moment, or by nobody."""
    follow = after_details(S.CREATED, outcome, reads)
    return Step(S.EXPIRED) if follow.status is S.CREATED else follow


def _says_something(outcome: Outcome) -> bool:
    """Whether PayPay told the state of the payment, or that it knows none."""
    return not isinstance(outcome, Unknown)


def _note(row: PayPayPayment, outcome: Outcome, ctx: Context) -> None:
    facts = Facts.of(outcome)
    if facts.http_status is not None:
        row.http_status = facts.http_status
        row.result_code, row.result_code_id = facts.code or None, facts.code_id or None
    row.last_error = (getattr(outcome, "reason", "") or "")[:ERROR_MAX] or None
    is_payment = facts.call not in ("refund_payment", "refund_details", "delete_qr_code", "create_qr_code")
    row.paypay_payment_id = facts.data.get("paymentId") or row.paypay_payment_id
    if is_payment and facts.status:
        row.paypay_status = facts.status
        row.expires_at = _time(facts.data.get("expiresAt")) or row.expires_at
        if facts.status in ("COMPLETED", "AUTHORIZED"):
            row.paid_at = _time(facts.data.get("acceptedAt")) or row.paid_at or ctx.now
    row.updated_at = ctx.now


def _note_code(work: Work, outcome: Outcome) -> None:
    data = Facts.of(outcome).data
    if work.code is None or not data.get("codeId"):
        return
    code = work.code
    code.code_id, code.url, code.deeplink = data.get("codeId"), data.get("url"), data.get("deeplink")
    code.expires_at = _time(data.get("expiryDate"))
    if code.expires_at is not None:
        work.payment.poll_until = code.expires_at + CODE_SLACK


def _note_part(
    operation: Operation,
    part: PayPayCapture | PayPayRevert | PayPayRefund | None,
    outcome: Outcome,
    ctx: Context,
) -> None:
    """Where a capture, revert or refund is now; a refund is done when it is booked."""
    if part is None or operation == "refund_details":
        return
    part.result_code = Facts.of(outcome).code or None
    match outcome:
        case Settled() if not isinstance(part, PayPayRefund):
            part.status, part.done_at = DONE, ctx.now
        case Settled() | Pending():
            part.status = PENDING
        case Declined():
            part.status = REFUSED
        case Unknown():
            part.status = UNKNOWN


def _taken_jpy(facts: Facts) -> int | None:
    """What was taken: the sum of the captures where there are any, else the payment's amount."""
    captures = facts.data.get("captures") or ()
    taken = sum(one.get("amountJpy", 0) for one in captures if one.get("status", "COMPLETED") == "COMPLETED")
    return taken or facts.amount_jpy


def _time(epoch: object) -> datetime | None:
    if type(epoch) is not int:
        return None
    try:
        return datetime.fromtimestamp(epoch, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def _is_in_time(row: PayPayPayment, ctx: Context) -> bool:
    return is_cancel_in_time(row.paid_at or row.requested_at, ctx.now, settings_of(ctx).zone)
