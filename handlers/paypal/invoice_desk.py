"""Invoices as people ask for them, and what a person decides where one stands still.

Every decision is an event with who and why. Source: docs/providers/paypal.md, "What an operator does with invoices".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypal.invoice_answers import NOT_THERE
from handlers.paypal.invoicing import DUE_TYPE, NEXT_OF, due, locked, tell
from handlers.paypal.tables_invoices import DRAFTED, NONE, PAID, WAIVED, PaypalInvoice
from hub.capability import handler
from hub.errors import RefusedCommand
from hub.operate import parked
from hub.store import tables as t
from schemas.paypal_invoices import InvoiceDecision, InvoiceDue, InvoiceView

if TYPE_CHECKING:
    from hub.api import HubApi
    from hub.deliver.context import Context

DECIDED_TYPE: Final = "paypal.invoice.decided"
LINES_MAX: Final = 1_000


@handler
async def decide_invoice(order: InvoiceDecision, ctx: Context) -> str:
    """Have PayPal asked again about an invoice that stands still, or give it up; answers with its state.

    Raises RefusedCommand: invoice_not_found, not_standing_still, invoice_is_over. Nothing is changed then.
    """
    ctx.tag("payment", order.payment_id)
    ctx.tag("by", order.by)
    row = await locked(ctx, order.payment_id)
    if row is None:
        raise RefusedCommand("invoice_not_found", f"payment {order.payment_id} has no invoice")
    if row.state in (PAID, WAIVED):
        raise RefusedCommand("invoice_is_over", f"the invoice of payment {order.payment_id} is {row.state}")
    if order.decision == "retry" and row.issue is None:
        raise RefusedCommand("not_standing_still", f"step {NEXT_OF[row.state]} is under way by itself")
    if row.review_event_id is not None:
        ctx.resolve_review(row.review_event_id, f"{order.by}: {order.decision}. {order.note}")
    if order.decision == "retry" and (row.state, row.issue) == (DRAFTED, NOT_THERE):
        # Somebody has deleted the draft: there is nothing to send before there is another one.
        row.state, row.invoice_id = NONE, None
    row.issue = row.issue_step = row.review_event_id = None
    row.decided_by, row.decided_note, row.decided_at = order.by, order.note, ctx.now
    row.updated_at = ctx.now
    if order.decision == "waive":
        row.state = WAIVED
        await tell(ctx, "paypal.invoice.waived", row)
    else:
        row.turn += 1
        await due(ctx, InvoiceDue(payment_id=row.payment_id, step=NEXT_OF[row.state], turn=row.turn))
    ctx.conclude(f"invoice_{order.decision}")
    await ctx.session.flush()
    return row.state


async def retry(api: HubApi, payment_id: str, *, by: str, note: str) -> str:
    """Have an invoice go on: a step that the hub could not run is run again, one that PayPal refused is asked anew.

    A step whose outcome is unknown stays the same call, which is looked up first. Raises RefusedCommand.
    """
    stuck = await parked_steps(api, payment_id)
    for delivery_id in stuck:
        await parked.retry(api.store, api.clock, str(delivery_id), actor=by, reason=note)
    if stuck:
        return f"delivery {', '.join(map(str, stuck))} runs again"
    order = InvoiceDecision(payment_id=payment_id, decision="retry", by=by, note=note)
    state = await api.command(DECIDED_TYPE, order, key=payment_id)
    return f"from {state} on"


async def waive(api: HubApi, payment_id: str, *, by: str, note: str) -> None:
    """No invoice shall come of a payment, or it is made by hand. Raises RefusedCommand."""
    order = InvoiceDecision(payment_id=payment_id, decision="waive", by=by, note=note)
    await api.command(DECIDED_TYPE, order, key=payment_id)


async def parked_steps(api: HubApi, payment_id: str) -> Sequence[int]:
    """The deliveries of a payment's steps that the hub could not run."""
    query = (
        select(t.deliveries.c.id)
        .join(t.inbox, t.inbox.c.seq == t.deliveries.c.event_seq)
        .where(*parked.PARKED, t.inbox.c.type == DUE_TYPE, t.inbox.c.key == payment_id)
        .order_by(t.deliveries.c.id)
        .limit(LINES_MAX)
    )
    async with api.reading() as session:
        return list(await session.scalars(query))


async def list_invoices(
    api: HubApi, *, state: str | None = None, subscription: str | None = None, stuck: bool = False, limit: int = 100
) -> Sequence[PaypalInvoice]:
    """Invoices, newest first; ``stuck`` leaves those that wait for a person because PayPal refused a step."""
    query = select(PaypalInvoice).order_by(PaypalInvoice.created_at.desc(), PaypalInvoice.payment_id)
    if state is not None:
        query = query.where(PaypalInvoice.state == state)
    if subscription is not None:
        query = query.where(PaypalInvoice.subscription_id == subscription)
    if stuck:
        query = query.where(PaypalInvoice.issue.is_not(None))
    async with api.reading() as session:
        return list(await session.scalars(query.limit(min(limit, LINES_MAX))))


async def find_invoice(api: HubApi, name: str) -> PaypalInvoice | None:
    """The invoice of a payment, or of its own number."""
    async with api.reading() as session:
        found = await session.get(PaypalInvoice, name)
        if found is None:
            found = await session.scalar(select(PaypalInvoice).where(PaypalInvoice.invoice_number == name))
        return found


async def invoice_of(session: AsyncSession, payment_id: str) -> InvoiceView | None:
    """The invoice of a payment as a shop sees it; none where invoices are off."""
    row = await session.get(PaypalInvoice, payment_id)
    return view_of(row) if row is not None else None


def view_of(row: PaypalInvoice) -> InvoiceView:
    """The row as others see it."""
    state: Any = row.state
    return InvoiceView(
        payment_id=row.payment_id,
        invoice_number=row.invoice_number,
        invoice_id=row.invoice_id,
        state=state,
        issue=row.issue,
        updated_at=row.updated_at,
    )
