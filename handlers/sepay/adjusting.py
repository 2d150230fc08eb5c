"""An operator changes a wallet: a refund puts money back into it, a withdrawal takes out what was paid at the bank.

Source: docs/providers/sepay.md, "Operators".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never

from handlers.sepay.books import REFUND, SALES, VND, WITHDRAWAL, bank_account, vnd, wallet_account
from handlers.sepay.wallets import settings_of, wallet_for_update
from hub.capability import handler
from hub.errors import RefusedCommand
from hub.ledger.model import Account, Move
from schemas.sepay_desk import WalletAdjusted, WalletAdjustment

if TYPE_CHECKING:
    from hub.deliver.context import Context


@handler
async def refund_to_wallet(order: WalletAdjustment, ctx: Context) -> WalletAdjusted:
    """Give sales back to a user's wallet, also to a suspended one: it is the user's money."""
    return await _adjust(order, "refund", ctx)


@handler
async def withdraw_from_wallet(order: WalletAdjustment, ctx: Context) -> WalletAdjusted:
    """Take out of a wallet what a person has transferred to the user at the bank.

    Raises RefusedCommand: insufficient_balance, wallet_suspended, unknown_bank_code without a receiving account.
    """
    return await _adjust(order, "withdrawal", ctx)


async def _adjust(order: WalletAdjustment, kind: Literal["refund", "withdrawal"], ctx: Context) -> WalletAdjusted:
    wallet = await wallet_for_update(ctx, order.user_id, order.currency)
    ctx.tag("user_id", order.user_id)
    account = wallet_account(wallet.id)
    match kind:
        case "refund":
            move = Move(debit=SALES, credit=account, amount=vnd(order.amount))
        case "withdrawal":
            if not wallet.is_active:
                raise RefusedCommand("wallet_suspended", "Wallet is suspended")
            held = (await ctx.ledger.balance(account)).amount_minor
            if held < order.amount:
                raise RefusedCommand("insufficient_balance", f"the wallet holds {held:,} VND", wallet_balance=held)
            move = Move(debit=account, credit=_paying_account(ctx), amount=vnd(order.amount))
        case _:
            assert_never(kind)
    ledger_id = ctx.new_id()
    data = {"ledger_id": str(ledger_id), "by": order.by}
    if order.order_id is not None:
        data["order_id"] = str(order.order_id)
    # The event is the order: whoever repeats it under one request id is told so, and nothing moves twice.
    reference = f"sepay:{kind}:{ctx.event.id}"
    entry = await ctx.ledger.post(
        reference, REFUND if kind == "refund" else WITHDRAWAL, [move], note=order.note, data=data
    )
    balance = entry.posting_of(account).after
    assert balance is not None
    wallet.updated_at = ctx.now
    adjusted = WalletAdjusted(
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
    await ctx.emit("wallet.refunded" if kind == "refund" else "wallet.withdrawn", adjusted, key=order.user_id)
    ctx.conclude(kind)
    await ctx.session.flush()
    return adjusted


def _paying_account(ctx: Context) -> Account:
    account = settings_of(ctx).receiving.for_payment(None)
    if account is None:
        raise RefusedCommand("unknown_bank_code", "no bank account is configured: set SEPAY_ACCOUNTS")
    return bank_account(account.account_number)
