"""A user orders licences, and pays at once where the wallet suffices.

Source: docs/providers/sepay-orders.md, "Orders".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from handlers.sepay.books import VND, wallet_account
from handlers.sepay.catalogue import load_catalogue
from handlers.sepay.intents import end_intents
from handlers.sepay.limits import check_text
from handlers.sepay.order_intents import open_order_intent
from handlers.sepay.order_lines import OrderLine, check_prices, payment_method_of, read_lines
from handlers.sepay.orders import OrderPlan, add_order, items_of, order_for_update, order_reply, requested_before
from handlers.sepay.paying import charge_wallet, require_active
from handlers.sepay.subscriptions import expect_renewals, give_up_expected
from handlers.sepay.tables import SYMBOL_PURCHASE, PayPaymentIntent
from handlers.sepay.tables_orders import CANCELLED, PAID, WALLET, PaySymbolOrder
from handlers.sepay.wallets import settings_of, wallet_for_update
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.sepay_events import OrderCancelled
from schemas.sepay_orders import PRICE_MAX, OrderCommand, OrderReply, OrderRequested

if TYPE_CHECKING:
    from handlers.sepay.tables import PayWallet
    from hub.deliver.context import Context

PROCESSED = "Order processed successfully."
TO_BE_TRANSFERRED = "Order created successfully. Complete payment via SePay."


@handler
async def request_order(request: OrderRequested, ctx: Context) -> OrderReply:
    """Store an order and pay it from the wallet, keep it waiting when the wallet is short, or ask for a transfer.

    Raises RefusedCommand with one of: empty_order, invalid_item, invalid_payment_method, symbol_not_found,
    price_mismatch, wallet_suspended (wallet orders), too_many_requests and unknown_bank_code (transfers),
    invalid_request, request_id_reused. Nothing is stored then. With a ``request_id`` it may be asked again: the answer
    is the order that there is.
    """
    lines = read_lines(request.items)
    method = payment_method_of(request)
    description = check_text("description", request.description)

    # Locked before its balance is read: of many orders at once, each sees what the one before has left.
    wallet = await wallet_for_update(ctx, request.user_id, VND)
    plan = OrderPlan(request.user_id, lines, method, description, request.request_id)
    if request.request_id is not None and (known := await requested_before(plan, ctx)) is not None:
        return await _answer_again(known, wallet, ctx)
    await _check(lines, ctx)
    if method == WALLET:
        require_active(wallet)
    order = await add_order(plan, ctx)
    await expect_renewals(order, (await items_of(ctx.session, [order.order_id]))[order.order_id], ctx)
    if method == WALLET:
        return await _pay_or_wait(order, wallet, ctx)
    return await _ask_for_transfer(order, wallet, ctx)


@handler
async def cancel_order(command: OrderCommand, ctx: Context) -> OrderReply:
    """Give up an order that nobody has paid; its open intents expire. Money that comes later goes to review.

    Raises RefusedCommand (order_not_found, order_not_payable).
    """
    # Intents before their order, as a transfer locks them.
    await end_intents(ctx, order_id=command.order_id, user_id=command.user_id)
    order = await order_for_update(ctx, command.order_id, command.user_id)
    if not order.is_payable:
        raise RefusedCommand("order_not_payable", f"Order is {order.status}")
    # One more may have been opened until the order was locked. Now none can be; a transfer that holds one of them
    # waits for the order, and will find it cancelled.
    await end_intents(ctx, order_id=command.order_id, user_id=command.user_id, skip_locked=True)
    order.status, order.updated_at = CANCELLED, ctx.now
    await give_up_expected(order, ctx)
    await ctx.session.flush()
    message = OrderCancelled(order_id=order.order_id, user_id=order.user_id, total_amount=order.total_minor)
    await ctx.emit("order.cancelled", message, key=order.user_id)
    ctx.conclude(CANCELLED)
    return await order_reply(order, "Order cancelled.", ctx, payment_intent_id=order.payment_intent_id)


def short_message(shortage: int) -> str:
    """What the guide says to a user whose wallet is short: so much is missing, please pay by SePay."""
    return f"Số dư ví không đủ. Thiếu {shortage:,} VND. Vui lòng chọn thanh toán bằng SePay."


async def _answer_again(order: PaySymbolOrder, wallet: PayWallet, ctx: Context) -> OrderReply:
    """A repeat of a request changes nothing: its sender is told how the order stands."""
    ctx.conclude("repeated")
    if not order.is_payable:
        return await order_reply(order, PROCESSED if order.status == PAID else f"Order is {order.status}.", ctx)
    if order.payment_method == WALLET:
        balance = (await ctx.ledger.balance(wallet_account(wallet.id))).amount_minor
        return await _short_reply(order, balance, ctx)
    intent = await ctx.session.get_one(PayPaymentIntent, order.payment_intent_id)
    return await _transfer_reply(order, intent, ctx)


async def _check(lines: Sequence[OrderLine], ctx: Context) -> None:
    catalogue = await load_catalogue(ctx.session, (line.symbol_id for line in lines))
    check_prices(lines, catalogue, settings_of(ctx))
    if sum(line.price_minor for line in lines) > PRICE_MAX:
        raise RefusedCommand("invalid_request", f"An order costs at most {PRICE_MAX:,} VND")


async def _pay_or_wait(order: PaySymbolOrder, wallet: PayWallet, ctx: Context) -> OrderReply:
    balance = (await ctx.ledger.balance(wallet_account(wallet.id))).amount_minor
    shortage = order.total_minor - balance
    if shortage > 0:
        ctx.conclude("insufficient_balance")
        return await _short_reply(order, balance, ctx)
    await charge_wallet(order, wallet, ctx)
    ctx.conclude("paid")
    return await order_reply(order, PROCESSED, ctx)


async def _short_reply(order: PaySymbolOrder, balance: int, ctx: Context) -> OrderReply:
    shortage = max(0, order.total_minor - balance)
    return await order_reply(
        order,
        short_message(shortage),
        ctx,
        insufficient_balance=shortage > 0,
        wallet_balance=balance,
        shortage=shortage,
    )


async def _ask_for_transfer(order: PaySymbolOrder, wallet: PayWallet, ctx: Context) -> OrderReply:
    intent = await open_order_intent(order, wallet, SYMBOL_PURCHASE, ctx)
    ctx.conclude("waiting_for_transfer")
    return await _transfer_reply(order, intent, ctx)


async def _transfer_reply(order: PaySymbolOrder, intent: PayPaymentIntent, ctx: Context) -> OrderReply:
    return await order_reply(
        order,
        TO_BE_TRANSFERRED,
        ctx,
        payment_intent_id=intent.intent_id,
        qr_code_url=intent.qr_code_url,
        deep_link=intent.deep_link,
    )
