"""Orders as rows: found and locked for their user, shown as replies.

Source: docs/providers/sepay-orders.md, "Orders".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.catalogue import Catalogue, load_catalogue
from handlers.sepay.order_lines import OrderLine
from handlers.sepay.tables import WALLET_TOPUP, PayPaymentIntent
from handlers.sepay.tables_orders import PENDING_PAYMENT, PaySymbolOrder, PaySymbolOrderItem
from hub.errors import RefusedCommand
from schemas.sepay_orders import OrderItemReply, OrderReply

if TYPE_CHECKING:
    from hub.deliver.context import Context


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """An order that a user asks for; ``request_id`` is the user's own name of it."""

    user_id: str
    lines: Sequence[OrderLine]
    payment_method: str
    description: str | None = None
    request_id: str | None = None


async def add_order(plan: OrderPlan, ctx: Context) -> PaySymbolOrder:
    """Store an order that waits for its money, with its items. The user's wallet must be locked."""
    order = PaySymbolOrder(
        order_id=ctx.new_id(),
        user_id=plan.user_id,
        total_minor=sum(line.price_minor for line in plan.lines),
        status=PENDING_PAYMENT,
        payment_method=plan.payment_method,
        description=plan.description,
        created_at=ctx.now,
        updated_at=ctx.now,
        request_id=plan.request_id,
    )
    ctx.session.add(order)
    await ctx.session.flush()
    ctx.session.add_all(_item(order, place, line, ctx) for place, line in enumerate(plan.lines, start=1))
    await ctx.session.flush()
    ctx.tag("order_id", str(order.order_id))
    ctx.tag("user_id", plan.user_id)
    return order


async def requested_before(plan: OrderPlan, ctx: Context) -> PaySymbolOrder | None:
    """The order that the user has made under this ``request_id``. The user's wallet must be locked.

    Raises RefusedCommand (request_id_reused) when that was another one.
    """
    order = await ctx.session.scalar(
        select(PaySymbolOrder).where(
            PaySymbolOrder.user_id == plan.user_id, PaySymbolOrder.request_id == plan.request_id
        )
    )
    if order is None:
        return None
    items = (await items_of(ctx.session, [order.order_id]))[order.order_id]
    said = (order.payment_method, order.description, [_line_of(item) for item in items])
    if said != (plan.payment_method, plan.description, list(plan.lines)):
        raise RefusedCommand("request_id_reused", "Another order was made under this request id")
    ctx.tag("order_id", str(order.order_id))
    ctx.tag("user_id", plan.user_id)
    return order


async def order_for_update(ctx: Context, order_id: UUID, user_id: str) -> PaySymbolOrder:
    """The user's own order, locked. Raises RefusedCommand (order_not_found), also for someone else's."""
    order = await _locked(ctx, order_id, user_id)
    if order is None:
        raise RefusedCommand("order_not_found", "Order not found")
    ctx.tag("order_id", str(order.order_id))
    ctx.tag("user_id", user_id)
    return order


async def payable_order(ctx: Context, order_id: UUID, user_id: str) -> PaySymbolOrder:
    """The user's own order, locked, that still waits for its money. Raises RefusedCommand (order_not_payable too)."""
    order = await order_for_update(ctx, order_id, user_id)
    if not order.is_payable:
        raise RefusedCommand("order_not_payable", f"Order is {order.status}")
    return order


async def order_of_intent(intent: PayPaymentIntent, ctx: Context) -> PaySymbolOrder | None:
    """The order that an intent pays, or that its top-up is meant for; locked. Never another user's."""
    order_id = order_in(intent.details) if intent.purpose == WALLET_TOPUP else intent.order_id
    if order_id is None:
        return None
    ctx.tag("order_id", str(order_id))
    return await _locked(ctx, order_id, intent.user_id)


def order_in(details: Mapping[str, Any]) -> UUID | None:
    """The order that an intent's metadata names. A client may have written it: anybody's order, or none."""
    return uuid_or_none(details.get("order_id"))


def uuid_or_none(value: object) -> UUID | None:
    """A UUID in a text from outside."""
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


async def items_of(session: AsyncSession, order_ids: Sequence[UUID]) -> Mapping[UUID, list[PaySymbolOrderItem]]:
    """The items of these orders, in their order."""
    found: dict[UUID, list[PaySymbolOrderItem]] = {order_id: [] for order_id in order_ids}
    query = select(PaySymbolOrderItem).where(PaySymbolOrderItem.order_id.in_(order_ids))
    for item in await session.scalars(query.order_by(PaySymbolOrderItem.order_id, PaySymbolOrderItem.position)):
        found[item.order_id].append(item)
    return found


async def order_reply(order: PaySymbolOrder, message: str, ctx: Context, **more: Any) -> OrderReply:
    """What the client is told about an order; ``more`` are the fields that differ from case to case."""
    items = (await items_of(ctx.session, [order.order_id]))[order.order_id]
    catalogue = await load_catalogue(ctx.session, (item.symbol_id for item in items))
    return OrderReply(
        order_id=order.order_id,
        total_amount=order.total_minor,
        status=order.status,
        payment_method=order.payment_method,
        items=item_replies(items, catalogue),
        created_at=order.created_at,
        message=message,
        **more,
    )


def item_replies(items: Sequence[PaySymbolOrderItem], catalogue: Catalogue) -> list[OrderItemReply]:
    """The items as they were sent, with the names of their symbols."""
    return [
        OrderItemReply(
            symbol_id=item.symbol_id,
            price=item.price_minor,
            license_days=item.license_days,
            symbol_name=catalogue.name_of(item.symbol_id),
            metadata=item.details,
            auto_renew=item.auto_renew,
            auto_renew_price=item.auto_renew_price_minor,
            auto_renew_cycle_days=item.cycle_days_override,
        )
        for item in items
    ]


async def _locked(ctx: Context, order_id: UUID, user_id: str) -> PaySymbolOrder | None:
    find = select(PaySymbolOrder).where(PaySymbolOrder.order_id == order_id, PaySymbolOrder.user_id == user_id)
    return await ctx.session.scalar(find.with_for_update().execution_options(populate_existing=True))


def _line_of(item: PaySymbolOrderItem) -> OrderLine:
    return OrderLine(
        symbol_id=item.symbol_id,
        price_minor=item.price_minor,
        license_days=item.license_days,
        metadata=item.details,
        auto_renew=item.auto_renew,
        renew_price_minor=item.auto_renew_price_minor,
        renew_days=item.cycle_days_override,
    )


def _item(order: PaySymbolOrder, place: int, line: OrderLine, ctx: Context) -> PaySymbolOrderItem:
    return PaySymbolOrderItem(
        order_item_id=ctx.new_id(),
        order_id=order.order_id,
        position=place,
        symbol_id=line.symbol_id,
        price_minor=line.price_minor,
        license_days=line.license_days,
        auto_renew=line.auto_renew,
        auto_renew_price_minor=line.renew_price_minor,
        cycle_days_override=line.renew_days,
        details=line.metadata,
    )
