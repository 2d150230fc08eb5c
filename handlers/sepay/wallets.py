"""Wallets: opened on demand, suspended and activated by an operator.

Suspending stops credits and spending, not the bank: money that arrives meanwhile waits in suspense and is released when
the wallet is active again. Source: docs/providers/sepay.md, "Suspended wallets".
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Select, select

from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables import ACTIVE, SUSPENDED, PayBankTransaction, PayPaymentIntent, PayWallet
from hub.capability import handler
from hub.store.upserts import insert_for
from schemas.sepay import HeldTransferReleased, WalletOrder, WalletRequested

if TYPE_CHECKING:
    from hub.deliver.context import Context

WALLET_SUSPENDED = "wallet_suspended"
"""The outcome of a transfer that is held until its wallet is active."""


@handler
async def open_wallet(request: WalletRequested, ctx: Context) -> UUID:
    """Open the user's wallet if there is none; answers with its id. Running it again changes nothing."""
    wallet = await wallet_for_update(ctx, request.user_id, request.currency)
    return wallet.id


@handler
async def suspend_wallet(order: WalletOrder, ctx: Context) -> None:
    """Refuse credits and spending until the wallet is activated. Running it again changes nothing."""
    wallet = await wallet_for_update(ctx, order.user_id, order.currency)
    ctx.tag("user_id", wallet.user_id)
    ctx.conclude(_set_status(wallet, SUSPENDED, ctx))


@handler
async def activate_wallet(order: WalletOrder, ctx: Context) -> int:
    """Make the wallet usable again and release every transfer that was held for it; answers with how many.

    Each release is an event of its own, so that one that cannot be credited holds up none of the others.
    """
    wallet = await wallet_for_update(ctx, order.user_id, order.currency)
    ctx.tag("user_id", wallet.user_id)
    ctx.conclude(_set_status(wallet, ACTIVE, ctx))
    # The wallet is locked: a transfer that met it suspended has committed and is seen here.
    held = (await ctx.session.scalars(_held_transfers(wallet))).all()
    for sepay_tx_id in held:
        await ctx.emit(
            "sepay.transfer.held_released", HeldTransferReleased(sepay_tx_id=sepay_tx_id), key=str(sepay_tx_id)
        )
    return len(held)


async def wallet_for_update(ctx: Context, user_id: str, currency: str) -> PayWallet:
    """The user's wallet, locked until the end of the transaction; opened here if there was none."""
    find = select(PayWallet).where(PayWallet.user_id == user_id, PayWallet.currency == currency).with_for_update()
    wallet = await ctx.session.scalar(find)
    if wallet is None:
        await _open(ctx, user_id, currency)
        wallet = (await ctx.session.scalars(find)).one()
    return wallet


def settings_of(ctx: Context) -> SepaySettings:
    """This capability's settings."""
    settings = ctx.settings
    assert isinstance(settings, SepaySettings)
    return settings


async def _open(ctx: Context, user_id: str, currency: str) -> None:
    # Two first requests of one user may race: the unique key decides, and both find the same wallet.
    row = {
        "id": ctx.new_id(),
        "user_id": user_id,
        "currency": currency,
        "status": ACTIVE,
        "created_at": ctx.now,
        "updated_at": ctx.now,
    }
    new = insert_for(ctx.session.get_bind().dialect.name, PayWallet).values(row)
    await ctx.session.execute(new.on_conflict_do_nothing())


def _set_status(wallet: PayWallet, status: str, ctx: Context) -> str:
    if wallet.status == status:
        return "unchanged"
    wallet.status = status
    wallet.updated_at = ctx.now
    return status


def _held_transfers(wallet: PayWallet) -> Select[int]:
    return (
        select(PayBankTransaction.sepay_tx_id)
        .join(PayPaymentIntent, PayPaymentIntent.intent_id == PayBankTransaction.intent_id)
        .where(
            PayBankTransaction.in_suspense,
            PayBankTransaction.outcome == WALLET_SUSPENDED,
            PayPaymentIntent.user_id == wallet.user_id,
            PayPaymentIntent.currency == wallet.currency,
        )
        .order_by(PayBankTransaction.sepay_tx_id)
    )
