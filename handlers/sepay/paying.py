"""An order is paid: from the wallet, or by a transfer that has come in. The rest is the same for both.

Source: docs/providers/sepay-orders.md, "Paying".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from handlers.sepay.books import PURCHASE, SALES, purchase_reference, vnd, wallet_account
from handlers.sepay.licenses import grant_licenses
from handlers.sepay.orders import items_of, payable_order
from handlers.sepay.subscriptions import follow_licenses
from handlers.sepay.tables import PayWallet
from handlers.sepay.tables_orders import PAID, WALLET, PaySymbolOrder
from handlers.sepay.wallets import wallet_for_update
from hub.capability import handler
from hub.errors import RefusedCommand
from hub.ledger.model import Move
from schemas.sepay_events import OrderPaid
from schemas.sepay_orders import OrderCommand, WalletPaymentReply

if TYPE_CHECKING:
    from hub.deliver.context import Context


@dataclass(frozen=True, slots=True)
class Fulfilment:
    """What a paid order led to."""

    licenses_created: int
    subscriptions_updated: int
    balance_after_minor: int | None = None


@handler
async def pay_from_wallet(command: OrderCommand, ctx: Context) -> WalletPaymentReply:
    """Pay a waiting wallet order from the wallet.

    Raises RefusedCommand with one of: order_not_found, order_not_payable, wrong_payment_method, wallet_suspended,
    insufficient_balance (with wallet_balance, total_amount, shortage). Nothing is changed then.
    """
    order = await payable_order(ctx, command.order_id, command.user_id)
    require_wallet_order(order)
    # Locked before its balance is read: of many purchases at once, each sees what the one before has left.
    wallet = await wallet_for_update(ctx, order.user_id, "VND")
    require_active(wallet)
    balance = (await ctx.ledger.balance(wallet_account(wallet.id))).amount_minor
    if balance < order.total_minor:
        raise RefusedCommand(
            "insufficient_balance",
            "Insufficient balance",
            wallet_balance=balance,
            total_amount=order.total_minor,
            shortage=order.total_minor - balance,
        )
    done = await charge_wallet(order, wallet, ctx)
    assert done.balance_after_minor is not None
    ctx.conclude("paid")
    return WalletPaymentReply(
        order_id=order.order_id,
        amount_charged=order.total_minor,
        wallet_balance_after=done.balance_after_minor,
        licenses_created=done.licenses_created,
        subscriptions_updated=done.subscriptions_updated,
    )


def require_wallet_order(order: PaySymbolOrder) -> None:
    """Raise RefusedCommand (wrong_payment_method) for an order that is to be paid by transfer."""
    if order.payment_method != WALLET:
        raise RefusedCommand("wrong_payment_method", "Order is not a wallet order")


def require_active(wallet: PayWallet) -> None:
    """Raise RefusedCommand (wallet_suspended)."""
    if not wallet.is_active:
        raise RefusedCommand("wallet_suspended", "Wallet is suspended")


async def charge_wallet(order: PaySymbolOrder, wallet: PayWallet, ctx: Context, *, note: str = "") -> Fulfilment:
    """Take the order's total from the wallet and deliver. Both are locked, and the balance is known to suffice.

    Raises InsufficientFundsError otherwise: the ledger has the last word.
    """
    account = wallet_account(wallet.id)
    entry = await ctx.ledger.post(
        purchase_reference(order.order_id),
        PURCHASE,
        [Move(debit=account, credit=SALES, amount=vnd(order.total_minor))],
        note=note,
        data={"ledger_id": str(ctx.new_id()), "order_id": str(order.order_id)},
    )
    wallet.updated_at = ctx.now
    after = entry.posting_of(account).after
    assert after is not None
    return await fulfil(order, ctx, payment_method=WALLET, balance_after_minor=after.amount_minor)


async def fulfil(
    order: PaySymbolOrder,
    ctx: Context,
    *,
    payment_method: Literal["wallet", "sepay_transfer"],
    payment_id: UUID | None = None,
    balance_after_minor: int | None = None,
) -> Fulfilment:
    """The money is booked: mark the order paid, give the licences, let renewals follow them, and tell everybody."""
    order.status, order.updated_at = PAID, ctx.now
    items = (await items_of(ctx.session, [order.order_id]))[order.order_id]
    message = OrderPaid(
        order_id=order.order_id,
        user_id=order.user_id,
        total_amount=order.total_minor,
        payment_method=payment_method,
        payment_id=payment_id,
    )
    await ctx.emit("order.paid", message, key=order.user_id)
    grants = await grant_licenses(order, items, ctx)
    updated = await follow_licenses(order, items, [grant.license for grant in grants], ctx)
    # Not before the licences: a later one is another order's.
    order.paid_at = ctx.now
    await ctx.session.flush()
    return Fulfilment(
        licenses_created=sum(grant.is_new for grant in grants),
        subscriptions_updated=updated,
        balance_after_minor=balance_after_minor,
    )
