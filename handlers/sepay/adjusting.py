"""An operator changes a wallet: a refund puts money back into it, a withdrawal takes out what was paid at the bank.

A refund may be for an order: then it never gives back more than the order has cost. Source: docs/providers/sepay.md,
"Operators".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

from handlers.sepay.books import REFUND, SALES, VND, WITHDRAWAL, bank_account, vnd, wallet_account
from handlers.sepay.license_desk import take_back
from handlers.sepay.orders import items_of
from handlers.sepay.tables import PayWallet
from handlers.sepay.tables_orders import PAID, REFUNDED, PaySymbolOrder
from handlers.sepay.wallets import settings_of, wallet_for_update
from hub.capability import handler
from hub.errors import RefusedCommand
from hub.ledger.model import Account, Move
from schemas.sepay_desk import OrderRefund, WalletAdjusted, WalletAdjustment
from schemas.sepay_events import OrderRefunded

if TYPE_CHECKING:
    from hub.deliver.context import Context


@handler
async def refund_to_wallet(order: WalletAdjustment, ctx: Context) -> WalletAdjusted:
    """Give sales back to a user's wallet, also to a suspended one: it is the user's money.

    Raises RefusedCommand, when it is for an order: order_not_found, order_not_refundable, refund_exceeds_order.
    """
    # The order before the wallet, as everywhere.
    paid = None if order.order_id is None else await _refundable(order.order_id, order.user_id, ctx)
    if paid is not None and order.amount > paid.total_minor - paid.refunded_minor:
        left = paid.total_minor - paid.refunded_minor
        raise RefusedCommand("refund_exceeds_order", f"{left:,} VND of the order are not given back yet")
    adjusted = await _give_back(order, paid, ctx)
    ctx.conclude("refund")
    await ctx.session.flush()
    return adjusted


@handler
async def refund_order(command: OrderRefund, ctx: Context) -> WalletAdjusted:
    """Give what is left of a paid order back into its user's wallet, and take back what its licences got from it.

    Raises RefusedCommand: order_not_found, order_not_refundable.
    """
    paid = await _refundable(command.order_id, None, ctx)
    order = WalletAdjustment(
        user_id=paid.user_id,
        amount=paid.total_minor - paid.refunded_minor,
        order_id=paid.order_id,
        by=command.by,
        note=command.note,
    )
    adjusted = await _give_back(order, paid, ctx)
    if not command.keep_licenses:
        await take_back(paid, (await items_of(ctx.session, [paid.order_id]))[paid.order_id], ctx)
    ctx.conclude(REFUNDED)
    await ctx.session.flush()
    return adjusted


@handler
async def withdraw_from_wallet(order: WalletAdjustment, ctx: Context) -> WalletAdjusted:
    """Take out of a wallet what a person has transferred to the user at the bank.

    Raises RefusedCommand: insufficient_balance, wallet_suspended, unknown_bank_code without a receiving account.
    """
    wallet = await wallet_for_update(ctx, order.user_id, order.currency)
    if not wallet.is_active:
        raise RefusedCommand("wallet_suspended", "Wallet is suspended")
    account = wallet_account(wallet.id)
    held = (await ctx.ledger.balance(account)).amount_minor
    if held < order.amount:
        raise RefusedCommand("insufficient_balance", f"the wallet holds {held:,} VND", wallet_balance=held)
    move = Move(debit=account, credit=_paying_account(ctx), amount=vnd(order.amount))
    adjusted = await _post(order, "withdrawal", wallet, move, ctx)
    await ctx.emit("wallet.withdrawn", adjusted, key=order.user_id)
    ctx.conclude("withdrawal")
    await ctx.session.flush()
    return adjusted


async def _give_back(order: WalletAdjustment, paid: PaySymbolOrder | None, ctx: Context) -> WalletAdjusted:
    """Post the refund and tell of it; an order that has been given back as a whole is refunded."""
    wallet = await wallet_for_update(ctx, order.user_id, order.currency)
    move = Move(debit=SALES, credit=wallet_account(wallet.id), amount=vnd(order.amount))
    adjusted = await _post(order, "refund", wallet, move, ctx)
    await ctx.emit("wallet.refunded", adjusted, key=order.user_id)
    if paid is not None:
        paid.refunded_minor += order.amount
        paid.updated_at = ctx.now
        if paid.refunded_minor == paid.total_minor:
            paid.status = REFUNDED
            message = OrderRefunded(order_id=paid.order_id, user_id=paid.user_id, total_amount=paid.total_minor)
            await ctx.emit("order.refunded", message, key=paid.user_id)
    return adjusted


async def _refundable(order_id: UUID, user_id: str | None, ctx: Context) -> PaySymbolOrder:
    paid = await ctx.session.get(PaySymbolOrder, order_id, with_for_update=True)
    if paid is None or user_id not in (None, paid.user_id):
        whose = "" if user_id is None else f" of user {user_id}"
        raise RefusedCommand("order_not_found", f"there is no order {order_id}{whose}")
    if paid.status != PAID:
        raise RefusedCommand("order_not_refundable", f"order {order_id} is {paid.status}")
    ctx.tag("order_id", str(order_id))
    return paid


async def _post(
    order: WalletAdjustment, kind: Literal["refund", "withdrawal"], wallet: PayWallet, move: Move, ctx: Context
) -> WalletAdjusted:
    ctx.tag("user_id", order.user_id)
    ledger_id = ctx.new_id()
    data = {"ledger_id": str(ledger_id), "by": order.by}
    if order.order_id is not None:
        data["order_id"] = str(order.order_id)
    # The event is the order: whoever repeats it under one request id is told so, and nothing moves twice.
    reference = f"sepay:{kind}:{ctx.event.id}"
    entry = await ctx.ledger.post(
        reference, REFUND if kind == "refund" else WITHDRAWAL, [move], note=order.note, data=data
    )
    balance = entry.posting_of(wallet_account(wallet.id)).after
    assert balance is not None
    wallet.updated_at = ctx.now
    return WalletAdjusted(
        user_id=order.user_id,
        wallet_id=wallet.id,
        ledger_id=ledger_id,
        kind=kind,
        amount=order.amount,
        currency=VND,
        balance_after=balance.amount_minor,
        order_id=order.order_id,
        note=order.note,
    )


def _paying_account(ctx: Context) -> Account:
    account = settings_of(ctx).receiving.for_payment(None)
    if account is None:
        raise RefusedCommand("unknown_bank_code", "no bank account is configured: set SEPAY_ACCOUNTS")
    return bank_account(account.account_number)
