"""What a person decides about money in suspense: whose it is, or that it went back.

Each decision moves the money once, under the transfer's own reference, and is kept as an event with who and why.
Source: docs/providers/sepay.md, "Operators".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.sepay.books import DEPOSIT, REFUND, SUSPENSE, VND, assign_reference, bank_account, refund_reference, vnd
from handlers.sepay.books import wallet_account as account_of
from handlers.sepay.crediting import CREDITED, Credit, settle_intent
from handlers.sepay.orders import order_of_intent
from handlers.sepay.reviews import WHICH_WAIT
from handlers.sepay.tables import (
    ACCOUNT_MISMATCH,
    SUCCEEDED,
    WALLET_TOPUP,
    PayBankTransaction,
    PayPayment,
    PayPaymentIntent,
    PayWallet,
)
from handlers.sepay.wallets import settings_of, wallet_for_update
from hub.capability import handler
from hub.errors import RefusedCommand
from hub.ledger.model import Move
from schemas.sepay import WalletCredited
from schemas.sepay_desk import TransferAssignment, TransferRefundNote, TransferResolved

if TYPE_CHECKING:
    from hub.deliver.context import Context

REFUNDED: Final = "refunded"
RESOLVED_TYPE: Final = "sepay.transaction.resolved"


@handler
async def assign_transfer(order: TransferAssignment, ctx: Context) -> UUID:
    """Move a transfer from suspense to what a person says it was for; answers with the event that brought it.

    For an intent the money does what it would have done: a top-up is credited with what came, whatever was asked; an
    order is paid only by exactly its amount. Raises RefusedCommand: transfer_not_found, not_in_suspense,
    intent_not_found, intent_paid, amount_mismatch, order_not_payable, wallet_suspended. Nothing is changed then.
    """
    row = await _waiting(order.sepay_tx_id, ctx)
    if order.intent_id is not None:
        user_id = await _assign_to_intent(row, order.intent_id, ctx)
    else:
        assert order.user_id is not None
        user_id = order.user_id
        await _assign_to_wallet(row, user_id, ctx)
    row.details = {**row.details, "assigned_by": order.by, "note": order.note}
    resolved = TransferResolved(
        sepay_tx_id=row.sepay_tx_id,
        resolution="assigned",
        amount=row.amount_in_minor,
        currency=VND,
        user_id=user_id,
        by=order.by,
        note=order.note,
    )
    await ctx.emit(RESOLVED_TYPE, resolved, key=str(row.sepay_tx_id))
    await ctx.session.flush()
    return row.event_id


@handler
async def note_refund(order: TransferRefundNote, ctx: Context) -> UUID:
    """Book that a transfer in suspense went back to its payer; answers with the event that brought it.

    The hub sends no money: a person has made the transfer at the bank. Raises RefusedCommand: transfer_not_found,
    not_in_suspense.
    """
    row = await _waiting(order.sepay_tx_id, ctx)
    account = settings_of(ctx).receiving.receiving(row.account_number, row.sub_account)
    bank = bank_account(row.details.get("settled_to") or (account.account_number if account else row.account_number))
    moves = [Move(debit=SUSPENSE, credit=bank, amount=vnd(row.amount_in_minor))]
    await ctx.ledger.post(refund_reference(row.sepay_tx_id), REFUND, moves, note=order.note)
    row.in_suspense, row.outcome, row.process_error = False, REFUNDED, None
    row.details = {**row.details, "refunded_by": order.by, "note": order.note}
    resolved = TransferResolved(
        sepay_tx_id=row.sepay_tx_id,
        resolution="refunded",
        amount=row.amount_in_minor,
        currency=VND,
        by=order.by,
        note=order.note,
    )
    await ctx.emit(RESOLVED_TYPE, resolved, key=str(row.sepay_tx_id))
    ctx.conclude(REFUNDED)
    await ctx.session.flush()
    return row.event_id


async def _waiting(sepay_tx_id: int, ctx: Context) -> PayBankTransaction:
    ctx.tag("sepay_tx_id", str(sepay_tx_id))
    row = await ctx.session.get(PayBankTransaction, sepay_tx_id, with_for_update=True)
    if row is None:
        raise RefusedCommand("transfer_not_found", f"there is no transfer {sepay_tx_id}; {WHICH_WAIT}")
    if row.outcome == ACCOUNT_MISMATCH:
        raise RefusedCommand(
            "not_in_suspense", f"transfer {sepay_tx_id} is not in the books: `unmatched settle` it first"
        )
    if not row.in_suspense:
        raise RefusedCommand(
            "not_in_suspense", f"the money of transfer {sepay_tx_id} is not in suspense: {row.outcome}"
        )
    return row


async def _assign_to_intent(row: PayBankTransaction, intent_id: UUID, ctx: Context) -> str:
    intent = await ctx.session.get(PayPaymentIntent, intent_id, with_for_update=True)
    if intent is None:
        raise RefusedCommand("intent_not_found", f"there is no payment intent {intent_id}")
    if intent.status == SUCCEEDED:
        raise RefusedCommand("intent_paid", "this intent is paid already: assign the money to the user's wallet")
    ctx.tag("order_code", intent.order_code)
    order = await order_of_intent(intent, ctx)
    if intent.purpose != WALLET_TOPUP:
        if row.amount_in_minor != intent.amount_minor:
            raise RefusedCommand(
                "amount_mismatch", f"the order costs {intent.amount_minor:,} VND: assign to the wallet"
            )
        if order is None or not order.is_payable:
            raise RefusedCommand("order_not_payable", "the order does not wait for money: assign to the wallet")
    wallet = await wallet_for_update(ctx, intent.user_id, intent.currency)
    if intent.purpose == WALLET_TOPUP:
        _require_active(wallet)
    row.intent_id = intent.intent_id
    reference = assign_reference(row.sepay_tx_id)
    await settle_intent(Credit(intent, wallet, row, taken_from=SUSPENSE, reference=reference, order=order), ctx)
    return intent.user_id


async def _assign_to_wallet(row: PayBankTransaction, user_id: str, ctx: Context) -> None:
    wallet = await wallet_for_update(ctx, user_id, VND)
    _require_active(wallet)
    ctx.tag("user_id", user_id)
    reference, ledger_id = assign_reference(row.sepay_tx_id), ctx.new_id()
    payment = PayPayment(
        payment_id=ctx.new_id(),
        user_id=user_id,
        amount_minor=row.amount_in_minor,
        status=SUCCEEDED,
        provider_payment_id=str(row.sepay_tx_id),
        details={"ledger_reference": reference},
        created_at=ctx.now,
        updated_at=ctx.now,
    )
    ctx.session.add(payment)
    await ctx.session.flush()
    account = account_of(wallet.id)
    entry = await ctx.ledger.post(
        reference,
        DEPOSIT,
        [Move(debit=SUSPENSE, credit=account, amount=vnd(payment.amount_minor))],
        data={"ledger_id": str(ledger_id), "payment_id": str(payment.payment_id)},
    )
    balance = entry.posting_of(account).after
    assert balance is not None
    row.in_suspense, row.outcome, row.process_error, row.payment_id = False, CREDITED, None, payment.payment_id
    wallet.updated_at = ctx.now
    message = WalletCredited(
        user_id=user_id,
        wallet_id=wallet.id,
        ledger_id=ledger_id,
        payment_id=payment.payment_id,
        amount=payment.amount_minor,
        currency=VND,
        balance_after=balance.amount_minor,
    )
    await ctx.emit("wallet.credited", message, key=user_id)
    ctx.conclude(CREDITED)


def _require_active(wallet: PayWallet) -> None:
    if not wallet.is_active:
        raise RefusedCommand("wallet_suspended", "Wallet is suspended: activate it first")
