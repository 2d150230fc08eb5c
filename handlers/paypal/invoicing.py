"""The invoice of a payment, one step after the other: number, draft, send, record the payment.

Each step is a delivery of its own and is stored before the next begins, in the order of its payment. Whatever is cut
off, repeated or raced comes to one invoice per sale. Source: docs/providers/paypal.md, "Invoices".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, assert_never

import structlog

from handlers.paypal.invoice_answers import BY_BUYER
from handlers.paypal.invoice_body import invoice_number
from handlers.paypal.invoice_calls import InvoiceCalls
from handlers.paypal.office import office_of
from handlers.paypal.payments import SETTLED_TYPE
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables import PaypalPayment, PaypalSubscription
from handlers.paypal.tables_invoices import DRAFTED, NONE, OPEN_STATES, PAID, SENT, WAIVED, PaypalInvoice
from hub.calls.outcome import Declined, Outcome, Pending, Settled, Unknown
from hub.capability import calls, handler
from hub.errors import NotYet, RetryableError
from hub.event import stable_hash
from hub.flow.priority import Priority
from hub.store.upserts import insert_for
from schemas.paypal import PaymentChanged
from schemas.paypal_invoices import InvoiceChanged, InvoiceDue, InvoiceStep

if TYPE_CHECKING:
    from hub.deliver.context import Context

DUE_TYPE: Final = "paypal.invoice.due"
DRAFT, SEND, RECORD, NOTIFY, REFUND = "draft", "send", "record", "notify", "refund"
NEXT_OF: Final[Mapping[str, InvoiceStep]] = {NONE: "draft", DRAFTED: "send", SENT: "record"}
"""State → the step that it waits for."""
STEP_S_MAX: Final = 120.0
"""One step: several requests to PayPal where it has to look."""
HANDLER_S_MAX: Final = 150.0
ISSUE_CHARS_MAX: Final = 100
SCHEDULED_S_MAX: Final = 40 * 86_400.0

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypal")


@handler
async def plan_invoice(change: PaymentChanged, ctx: Context) -> None:
    """A payment is booked: its invoice is due. So much of it went back: the invoice may have to say so."""
    ctx.tag("payment", change.payment_id)
    settings: PaypalSettings = ctx.settings
    if ctx.event.type == SETTLED_TYPE:
        await _begin(change, ctx, is_on=settings.invoice_enabled)
    else:
        await _give_back(change, ctx, is_on=settings.invoice_refund)


async def _begin(change: PaymentChanged, ctx: Context, *, is_on: bool) -> None:
    if not is_on:
        ctx.conclude("off")
        return
    new = insert_for(ctx.session.get_bind().dialect.name, PaypalInvoice).values(
        payment_id=change.payment_id,
        invoice_number=invoice_number(change.payment_id),
        invoice_id=None,
        state=NONE,
        subscription_id=change.subscription_id,
        custom_id=change.custom_id,
        amount_minor=change.amount_minor,
        currency=change.currency,
        dated=ctx.now.date().isoformat(),
        has_recipient=True,
        refunded_minor=0,
        turn=0,
        created_at=ctx.now,
        updated_at=ctx.now,
    )
    inserted = await ctx.session.execute(new.on_conflict_do_nothing().returning(PaypalInvoice.payment_id))
    if inserted.first() is None:
        ctx.conclude("invoice_known")
        return
    await due(ctx, InvoiceDue(payment_id=change.payment_id, step="draft"))
    ctx.conclude("invoice_due")


async def _give_back(change: PaymentChanged, ctx: Context, *, is_on: bool) -> None:
    row = await locked(ctx, change.payment_id)
    if not is_on or row is None or row.state == WAIVED:
        ctx.conclude("off" if not is_on else "not_invoiced")
        return
    before = row.refunded_minor
    row.refunded_minor = min(row.amount_minor, before + change.amount_minor)
    row.updated_at = ctx.now
    if row.state == PAID and row.refunded_minor > before:
        await _refund_due(ctx, row, before_minor=before)
    # Before that it waits in the row until the payment is recorded.
    ctx.conclude("refund_noted")


@calls("paypal", timeout_s=HANDLER_S_MAX, priority=Priority.READ)
async def advance_invoice(wanted: InvoiceDue, ctx: Context) -> None:
    """Do one step of a payment's invoice, store it, and let the next be due.

    Running it again is safe: a step whose outcome is not known is looked up at PayPal before it is done again.
    """
    ctx.tag("payment", wanted.payment_id)
    async with ctx.reading() as session:
        row = await session.get(PaypalInvoice, wanted.payment_id)
        assert row is not None, "a step is due only for an invoice that has its row"
        kept = await session.get(PaypalSubscription, row.subscription_id) if row.subscription_id else None
        payment = await session.get(PaypalPayment, row.payment_id)
        assert payment is not None, "an invoice is of a payment"
    if not _is_due(row, wanted):
        ctx.conclude("waived" if row.state == WAIVED else "step_known")
        return
    outcome = await _called(wanted, row, kept, payment.account, ctx)
    match outcome:
        case Settled(data=data):
            await _went_well(wanted, data, ctx)
        case Declined(reason=issue, data=data):
            await _stands_still(wanted, issue, data, ctx)
        case Pending(reason=reason):
            raise NotYet(reason, within_s=SCHEDULED_S_MAX)
        case Unknown(reason=reason):
            raise RetryableError(f"step {wanted.step} of invoice {row.invoice_number} may have happened: {reason}")
        case _:
            assert_never(outcome)


async def _called(
    wanted: InvoiceDue, row: PaypalInvoice, kept: PaypalSubscription | None, account: str | None, ctx: Context
) -> Outcome:
    settings: PaypalSettings = ctx.settings.account(account)
    asked = InvoiceCalls(office_of(settings), settings, row, kept, wanted, ctx.now)
    steps = {
        DRAFT: (asked.draft, asked.draft_happened),
        SEND: (asked.send, asked.send_happened),
        RECORD: (asked.record, asked.record_happened),
        NOTIFY: (asked.notify, asked.notify_happened),
        REFUND: (asked.refund, asked.refund_happened),
    }
    send, lookup = steps[wanted.step]
    # What may change between two attempts (a template, an address) is not part of what is asked.
    request = {"invoice_number": row.invoice_number, "amount_minor": row.amount_minor, "currency": row.currency}
    parts = (row.invoice_number, wanted.step, str(wanted.turn), str(wanted.before_minor))
    key = stable_hash("paypal invoice", *parts).hex()
    return await ctx.call(wanted.step, send, request, key=key, lookup=lookup, timeout_s=STEP_S_MAX)


def _is_due(row: PaypalInvoice, wanted: InvoiceDue) -> bool:
    if wanted.step in (NOTIFY, REFUND):
        return row.state == PAID
    return NEXT_OF.get(row.state) == wanted.step


async def _went_well(wanted: InvoiceDue, data: Mapping[str, Any], ctx: Context) -> None:
    await ctx.begin()
    row = await locked(ctx, wanted.payment_id)
    assert row is not None
    row.updated_at = ctx.now
    if wanted.step == DRAFT:
        row.invoice_id, row.has_recipient = data["invoice_id"], data["has_recipient"]
    if row.state == WAIVED:
        # Decided meanwhile. What PayPal has of it stays there, and is named.
        ctx.conclude("waived")
        return
    outcome = {DRAFT: DRAFTED, SEND: SENT, RECORD: PAID, NOTIFY: "notified", REFUND: "refund_recorded"}[wanted.step]
    if outcome in (DRAFTED, SENT):
        row.state = outcome
        await due(ctx, InvoiceDue(payment_id=row.payment_id, step=NEXT_OF[outcome], turn=wanted.turn))
    ctx.conclude(f"invoice_{outcome}")
    if outcome == PAID:
        row.state = PAID
        await _finish(row, wanted, ctx, by_buyer=bool(data.get(BY_BUYER)))


async def _finish(row: PaypalInvoice, wanted: InvoiceDue, ctx: Context, *, by_buyer: bool) -> None:
    settings: PaypalSettings = ctx.settings
    await tell(ctx, "paypal.invoice.paid", row)
    if settings.invoice_email == "after_payment" and row.has_recipient:
        await due(ctx, InvoiceDue(payment_id=row.payment_id, step="notify", turn=wanted.turn))
    if row.refunded_minor:
        await _refund_due(ctx, row, before_minor=0)
    if by_buyer:
        # The gap between sending and recording was long enough for a buyer to pay once more.
        text = f"invoice {row.invoice_number} was paid at PayPal by its buyer, besides payment {row.payment_id}: "
        ctx.review("invoice_paid_twice", text + "give one of them back")


async def _stands_still(wanted: InvoiceDue, issue: str, data: Mapping[str, Any], ctx: Context) -> None:
    """PayPal refuses the step, or shows what nobody expected: a person decides."""
    await ctx.begin()
    row = await locked(ctx, wanted.payment_id)
    assert row is not None
    reason = f"step {wanted.step} of invoice {row.invoice_number}: PayPal says {issue[:ISSUE_CHARS_MAX]}"
    if row.state == WAIVED:
        ctx.conclude("waived")
        return
    if wanted.step in (NOTIFY, REFUND):
        # The invoice is paid, and stays so: what is left can be done at PayPal.
        ctx.review(f"invoice_{wanted.step}_refused", reason)
        return
    row.invoice_id = row.invoice_id or data.get("invoice_id")
    row.issue, row.issue_step, row.review_event_id = issue[:ISSUE_CHARS_MAX], wanted.step, ctx.event.id
    row.updated_at = ctx.now
    log.warning("invoice_stands_still", payment_id=row.payment_id, step=wanted.step, issue=row.issue)
    await tell(ctx, "paypal.invoice.failed", row)
    ctx.review("invoice_refused", reason)


async def locked(ctx: Context, payment_id: str) -> PaypalInvoice | None:
    """The row of a payment's invoice, locked and as it is now."""
    return await ctx.session.get(PaypalInvoice, payment_id, with_for_update=True, populate_existing=True)


async def due(ctx: Context, step: InvoiceDue) -> None:
    """Let a step be due, once: whoever says it again says nothing new."""
    id_ = f"{step.payment_id}/{step.step}/{step.turn}/{step.before_minor}"
    await ctx.emit(DUE_TYPE, step, key=step.payment_id, dedupe_id=id_)


async def _refund_due(ctx: Context, row: PaypalInvoice, *, before_minor: int) -> None:
    amount = row.refunded_minor - before_minor
    await due(ctx, InvoiceDue(payment_id=row.payment_id, step="refund", before_minor=before_minor, amount_minor=amount))


async def tell(ctx: Context, type_: str, row: PaypalInvoice) -> None:
    """Whoever listens hears how an invoice ended, or that a person must look at it."""
    step: Any = row.issue_step
    state: Any = row.state
    message = InvoiceChanged(
        payment_id=row.payment_id,
        invoice_number=row.invoice_number,
        invoice_id=row.invoice_id,
        state=state,
        issue=row.issue,
        step=step,
        subscription_id=row.subscription_id,
        custom_id=row.custom_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
    )
    await ctx.publish(message, routing_key=type_, key=row.payment_id)


assert set(NEXT_OF) == set(OPEN_STATES)
