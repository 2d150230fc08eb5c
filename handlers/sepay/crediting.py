"""The one place where a transfer reaches what it was meant for: a wallet, an order, or an order by way of the wallet.

Source: docs/providers/sepay.md, "Processing"; docs/providers/sepay-orders.md, "Paying by transfer".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError

from handlers.sepay.assigning import Problem, is_late
from handlers.sepay.books import (
    DEPOSIT,
    ORDER_PAYMENT,
    SALES,
    SUSPENSE,
    release_reference,
    vnd,
    wallet_account,
)
from handlers.sepay.locking import lock_together
from handlers.sepay.orders import order_of_intent
from handlers.sepay.paying import charge_wallet, fulfil
from handlers.sepay.reviews import ask_for_review, process_error_of
from handlers.sepay.tables import (
    EXPIRED,
    OPEN_STATUSES,
    SUCCEEDED,
    WALLET_TOPUP,
    PayBankTransaction,
    PayPayment,
    PayPaymentAttempt,
    PayPaymentIntent,
    PayWallet,
)
from handlers.sepay.tables_orders import SEPAY_TRANSFER, WALLET, PaySymbolOrder
from handlers.sepay.wallets import WALLET_SUSPENDED, settings_of, wallet_for_update
from hub.capability import handler
from hub.ledger.model import Account, Move
from schemas.sepay import HeldTransferReleased, WalletCredited

if TYPE_CHECKING:
    from hub.deliver.context import Context

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.sepay")

CREDITED: Final = "credited"
ORDER_PAID: Final = "order_paid"
CREDITED_AND_ORDER_PAID: Final = "credited_and_order_paid"

COMPLETED_AND_PAID: Final = "Top-up completed and order paid"
STILL_SHORT: Final = "Wallet balance still insufficient after top-up."


@dataclass(frozen=True, slots=True)
class Credit:
    """A transfer has found its intent; intent, order, wallet and bank transaction are locked."""

    intent: PayPaymentIntent
    wallet: PayWallet
    row: PayBankTransaction
    taken_from: Account
    reference: str
    order: PaySymbolOrder | None = None


async def settle_intent(credit: Credit, ctx: Context) -> None:
    """Book the money where the intent says: into the wallet, from which it may pay an order, or straight to sales."""
    if credit.intent.purpose == WALLET_TOPUP:
        payment = await credit_wallet(credit, ctx)
        if credit.order is not None:
            await _pay_waiting_order(credit.order, credit, payment, ctx)
    else:
        assert credit.order is not None, "an intent for an order is payable only with its order"
        await _pay_order(credit.order, credit, ctx)


async def credit_wallet(credit: Credit, ctx: Context) -> PayPayment:
    """Post the deposit, record the payment, end the intent, and tell everybody."""
    wallet = credit.wallet
    payment = await _record_payment(credit, CREDITED, ctx)
    target = wallet_account(wallet.id)
    ledger_id = ctx.new_id()
    entry = await ctx.ledger.post(
        credit.reference,
        DEPOSIT,
        [Move(debit=credit.taken_from, credit=target, amount=vnd(payment.amount_minor))],
        data={
            "ledger_id": str(ledger_id),
            "payment_id": str(payment.payment_id),
            "intent_id": str(credit.intent.intent_id),
        },
    )
    wallet.updated_at = ctx.now
    balance = entry.posting_of(target).after
    assert balance is not None
    message = WalletCredited(
        user_id=wallet.user_id,
        wallet_id=wallet.id,
        ledger_id=ledger_id,
        payment_id=payment.payment_id,
        amount=payment.amount_minor,
        currency=wallet.currency,
        balance_after=balance.amount_minor,
    )
    await ctx.emit("wallet.credited", message, key=wallet.user_id)
    return payment


async def _pay_order(order: PaySymbolOrder, credit: Credit, ctx: Context) -> None:
    # The wallet is not touched, whatever its state: the money goes from the bank to sales.
    payment = await _record_payment(credit, ORDER_PAID, ctx)
    await ctx.ledger.post(
        credit.reference,
        ORDER_PAYMENT,
        [Move(debit=credit.taken_from, credit=SALES, amount=vnd(payment.amount_minor))],
        data={
            "payment_id": str(payment.payment_id),
            "intent_id": str(credit.intent.intent_id),
            "order_id": str(order.order_id),
        },
    )
    await fulfil(order, ctx, payment_method=SEPAY_TRANSFER, payment_id=payment.payment_id)


async def _pay_waiting_order(order: PaySymbolOrder, credit: Credit, payment: PayPayment, ctx: Context) -> None:
    """The top-up was made to pay this order: do so, if it still waits. Whatever happens, the deposit stands."""
    if not order.is_payable:
        payment.message = f"Top-up completed; the order is {order.status}"
        return
    if order.payment_method != WALLET:
        payment.message = "Top-up completed; the order is to be paid by transfer"
        return
    balance = await ctx.ledger.balance(wallet_account(credit.wallet.id))
    if balance.amount_minor < order.total_minor:
        payment.message = STILL_SHORT
        return
    note = f"Auto-payment after top-up for order {order.order_id}"
    try:
        async with ctx.savepoint():
            await charge_wallet(order, credit.wallet, ctx, note=note)
    except Exception as error:
        # What concerns the whole transaction is for the hub; anything else must not cost the user the deposit.
        if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
            raise
        log.exception("auto_payment_failed")
        payment.message = "Top-up completed; the order could not be paid"
        ctx.review(CREDITED, "the money is in the wallet, but the order that it was for could not be paid")
        return
    payment.message = COMPLETED_AND_PAID
    credit.row.outcome = CREDITED_AND_ORDER_PAID
    ctx.conclude(CREDITED_AND_ORDER_PAID)


@handler(ahead=lock_together)
async def release_held(released: HeldTransferReleased, ctx: Context) -> None:
    """Move a transfer that was held for a suspended wallet from suspense to the wallet.

    Running it again changes nothing. When the wallet is suspended again, the money stays in suspense and the transfer's
    review open; when the intent has been paid meanwhile, another review takes its place.
    """
    ctx.tag("sepay_tx_id", str(released.sepay_tx_id))
    row = await ctx.session.get(PayBankTransaction, released.sepay_tx_id, with_for_update=True)
    if row is None or not row.in_suspense or row.outcome != WALLET_SUSPENDED:
        ctx.conclude("already_processed")
        return
    intent = await ctx.session.get_one(PayPaymentIntent, row.intent_id, with_for_update=True)
    order = await order_of_intent(intent, ctx)
    wallet = await wallet_for_update(ctx, intent.user_id, intent.currency)
    ctx.tag("order_code", intent.order_code)
    ctx.tag("user_id", intent.user_id)
    if intent.status == SUCCEEDED:
        await _keep_as_duplicate(row, ctx)
    elif not wallet.is_active:
        ctx.conclude(WALLET_SUSPENDED)
    else:
        reference = release_reference(row.sepay_tx_id)
        await settle_intent(Credit(intent, wallet, row, taken_from=SUSPENSE, reference=reference, order=order), ctx)
        ctx.resolve_review(row.event_id, "credited: the wallet is active again")
    await ctx.session.flush()


async def _keep_as_duplicate(row: PayBankTransaction, ctx: Context) -> None:
    outcome = "duplicate_payment"
    row.outcome, row.process_error = outcome, process_error_of(outcome)
    ctx.resolve_review(row.event_id, f"the intent was paid meanwhile: reviewed as {outcome} under event {ctx.event.id}")
    await ask_for_review(row.sepay_tx_id, Problem(outcome, row.intent_id), ctx)


async def _record_payment(credit: Credit, outcome: str, ctx: Context) -> PayPayment:
    intent, row = credit.intent, credit.row
    payment = PayPayment(
        payment_id=ctx.new_id(),
        user_id=intent.user_id,
        order_id=intent.order_id,
        intent_id=intent.intent_id,
        amount_minor=row.amount_in_minor,
        status=SUCCEEDED,
        provider_payment_id=str(row.sepay_tx_id),
        details={"ledger_reference": credit.reference},
        created_at=ctx.now,
        updated_at=ctx.now,
    )
    ctx.session.add(payment)
    await ctx.session.flush()
    row.attempt_id = await _end_attempts(intent, ctx)
    row.payment_id = payment.payment_id
    row.outcome, row.process_error, row.in_suspense = outcome, None, False
    if is_late(row.transaction_date, intent, settings_of(ctx)):
        # The policy credits late money, but what has expired stays expired.
        intent.status = EXPIRED
    else:
        intent.status = SUCCEEDED
        intent.reference_code = row.reference_number
    intent.updated_at = ctx.now
    ctx.conclude(outcome)
    return payment


async def _end_attempts(intent: PayPaymentIntent, ctx: Context) -> UUID | None:
    # An attempt that the job has expired succeeds too: the payer was in time, the webhook was not.
    attempts = select(PayPaymentAttempt).where(
        PayPaymentAttempt.intent_id == intent.intent_id, PayPaymentAttempt.status.in_((*OPEN_STATUSES, EXPIRED))
    )
    latest: PayPaymentAttempt | None = None
    for attempt in await ctx.session.scalars(attempts.order_by(PayPaymentAttempt.created_at)):
        attempt.status = SUCCEEDED
        latest = attempt
    return latest.attempt_id if latest else None
