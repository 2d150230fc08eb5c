"""Payment intents for orders, and intents that a client asks for by itself.

Source: docs/providers/sepay-orders.md, "Paying by transfer".
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from handlers.sepay.books import VND, wallet_account
from handlers.sepay.intents import (
    IntentPlan,
    add_attempt,
    fresh_code,
    open_intent,
    refuse_hurry,
    transfer_content,
)
from handlers.sepay.limits import (
    check_metadata,
    check_url,
    is_whole,
    lifetime,
    receiving_account,
    require_vnd,
    topup_amount,
)
from handlers.sepay.order_codes import OrderCode, pay_code, topup_code
from handlers.sepay.orders import payable_order, uuid_or_none
from handlers.sepay.paying import require_active, require_wallet_order
from handlers.sepay.tables import ORDER_PAYMENT, SYMBOL_PURCHASE, WALLET_TOPUP, PayPaymentIntent, PayWallet
from handlers.sepay.tables_orders import PaySymbolOrder
from handlers.sepay.wallets import settings_of, wallet_for_update
from hub.capability import handler
from hub.errors import RefusedCommand
from schemas.sepay_orders import CreatedIntent, IntentRequested, OrderCommand, OrderIntent

if TYPE_CHECKING:
    from hub.deliver.context import Context

PURPOSES: Final = (WALLET_TOPUP, ORDER_PAYMENT, SYMBOL_PURCHASE)


@handler
async def pay_by_transfer(command: OrderCommand, ctx: Context) -> OrderIntent:
    """A new intent over the whole order; older ones stay payable until they expire.

    Raises RefusedCommand: order_not_found, order_not_payable, too_many_requests, unknown_bank_code.
    """
    order = await payable_order(ctx, command.order_id, command.user_id)
    wallet = await wallet_for_update(ctx, order.user_id, VND)
    intent = await open_order_intent(order, wallet, ORDER_PAYMENT, ctx)
    ctx.conclude("opened")
    return _order_intent(intent, "Payment intent created successfully.")


@handler
async def top_up_for_order(command: OrderCommand, ctx: Context) -> OrderIntent:
    """A new intent over what the wallet lacks, at least the smallest top-up; its money then pays the order.

    Raises RefusedCommand: order_not_found, order_not_payable, wrong_payment_method, wallet_suspended,
    topup_not_needed, too_many_requests, unknown_bank_code.
    """
    settings = settings_of(ctx)
    order = await payable_order(ctx, command.order_id, command.user_id)
    require_wallet_order(order)
    wallet = await wallet_for_update(ctx, order.user_id, VND)
    require_active(wallet)
    shortage = order.total_minor - (await ctx.ledger.balance(wallet_account(wallet.id))).amount_minor
    if shortage <= 0:
        raise RefusedCommand("topup_not_needed", "The wallet already covers the order")
    await refuse_hurry(wallet, ctx)
    account = receiving_account(None, settings)
    plan = IntentPlan(
        WALLET_TOPUP,
        max(shortage, settings.min_amount),
        account,
        ctx.now + timedelta(minutes=settings.intent_minutes),
        details={"order_id": str(order.order_id)},
    )
    intent = await open_intent(wallet, await fresh_code(topup_code, ctx), plan, ctx)
    await add_attempt(intent, account, ctx)
    ctx.conclude("opened")
    message = f"Create a SePay top-up for {intent.amount_minor:,} VND to finish the order."
    return _order_intent(intent, message, shortage=shortage)


@handler
async def create_intent(request: IntentRequested, ctx: Context) -> CreatedIntent:
    """An intent for the wallet; or for the user's own waiting order, when ``metadata.order_id`` names it.

    Raises RefusedCommand: invalid_purpose, unsupported_currency, invalid_amount, invalid_request, wallet_suspended,
    too_many_requests, unknown_bank_code.
    """
    settings = settings_of(ctx)
    if request.purpose not in PURPOSES:
        raise RefusedCommand("invalid_purpose", f"purpose must be one of {', '.join(PURPOSES)}")
    ends_in = lifetime(request.expires_in_minutes, settings)
    more: dict[str, Any] = {
        "return_url": check_url("return_url", request.return_url),
        "cancel_url": check_url("cancel_url", request.cancel_url),
        "details": check_metadata(request.metadata),
    }
    if request.purpose == WALLET_TOPUP:
        order, amount = None, topup_amount(request.amount, request.currency, settings)
    else:
        order, amount = await _named_order(request, ctx)
    wallet = await wallet_for_update(ctx, request.user_id, VND)
    require_active(wallet)
    await refuse_hurry(wallet, ctx)
    plan = IntentPlan(request.purpose, amount, receiving_account(None, settings), ctx.now + ends_in, **more)
    intent = await _open_with_pay_code(wallet, plan, order, ctx)
    ctx.conclude("opened")
    return CreatedIntent(
        intent_id=intent.intent_id,
        order_code=intent.order_code,
        qr_code_url=intent.qr_code_url,
        transfer_content=plan.account.content_of(transfer_content(OrderCode(intent.order_code), settings)),
        amount=intent.amount_minor,
        status=intent.status,
        expires_at=intent.expires_at,
    )


async def open_order_intent(order: PaySymbolOrder, wallet: PayWallet, purpose: str, ctx: Context) -> PayPaymentIntent:
    """A new intent over the whole order, for the user's wallet that is locked. Raises RefusedCommand."""
    settings = settings_of(ctx)
    await refuse_hurry(wallet, ctx)
    ends_at = ctx.now + timedelta(minutes=settings.intent_minutes)
    plan = IntentPlan(purpose, order.total_minor, receiving_account(None, settings), ends_at)
    return await _open_with_pay_code(wallet, plan, order, ctx)


async def _open_with_pay_code(
    wallet: PayWallet, plan: IntentPlan, order: PaySymbolOrder | None, ctx: Context
) -> PayPaymentIntent:
    intent = await open_intent(wallet, await fresh_code(pay_code, ctx), plan, ctx)
    if order is not None:
        intent.order_id, order.payment_intent_id, order.updated_at = order.order_id, intent.intent_id, ctx.now
        await ctx.session.flush()
    return intent


async def _named_order(request: IntentRequested, ctx: Context) -> tuple[PaySymbolOrder, int]:
    require_vnd(request.currency)
    if not is_whole(request.amount):
        raise RefusedCommand("invalid_amount", "amount must be a whole number of dong above 0")
    order_id = uuid_or_none(request.metadata.get("order_id"))
    order = None
    if order_id is not None:
        try:
            order = await payable_order(ctx, order_id, request.user_id)
        except RefusedCommand:
            order = None
    if order is None or order.total_minor != request.amount:
        raise RefusedCommand(
            "invalid_purpose", f"{request.purpose} needs metadata.order_id of a waiting order of yours with this amount"
        )
    return order, order.total_minor


def _order_intent(intent: PayPaymentIntent, message: str, **more: Any) -> OrderIntent:
    return OrderIntent(
        intent_id=intent.intent_id,
        order_code=intent.order_code,
        amount=intent.amount_minor,
        currency=intent.currency,
        expires_at=intent.expires_at,
        qr_code_url=intent.qr_code_url,
        message=message,
        **more,
    )
