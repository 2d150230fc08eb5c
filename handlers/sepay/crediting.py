"""The one place where money enters a wallet: when a transfer is settled, and when a held one is released."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import select

from handlers.sepay.assigning import Problem, is_late
from handlers.sepay.books import DEPOSIT, SUSPENSE, release_reference, vnd, wallet_account
from handlers.sepay.reviews import ask_for_review, process_error_of
from handlers.sepay.tables import (
    EXPIRED,
    OPEN_STATUSES,
    SUCCEEDED,
    PayBankTransaction,
    PayPayment,
    PayPaymentAttempt,
    PayPaymentIntent,
    PayWallet,
)
from handlers.sepay.wallets import WALLET_SUSPENDED, settings_of, wallet_for_update
from hub.capability import handler
from hub.ledger.model import Account, Move
from schemas.sepay import HeldTransferReleased, WalletCredited

if TYPE_CHECKING:
    from hub.deliver.context import Context

CREDITED = "credited"


@dataclass(frozen=True, slots=True)
class Credit:
    """A wallet is to receive a transfer; its intent, its wallet and its bank transaction are locked."""

    intent: PayPaymentIntent
    wallet: PayWallet
    row: PayBankTransaction
    taken_from: Account
    reference: str


async def credit_wallet(credit: Credit, ctx: Context) -> None:
    """Post the deposit, record the payment, end the intent, and tell everybody."""
    intent, wallet, row = credit.intent, credit.wallet, credit.row
    payment = _payment(credit, ctx)
    ctx.session.add(payment)
    await ctx.session.flush()
    attempt_id = await _end_attempts(intent, ctx)
    if is_late(row.transaction_date, intent, settings_of(ctx)):
        # The policy credits late money, but what has expired stays expired.
        intent.status = EXPIRED
    else:
        intent.status = SUCCEEDED
        intent.reference_code = row.reference_number
    intent.updated_at = wallet.updated_at = ctx.now
    row.outcome, row.process_error, row.in_suspense = CREDITED, None, False
    row.attempt_id, row.payment_id = attempt_id, payment.payment_id

    target = wallet_account(wallet.id)
    ledger_id = ctx.new_id()
    entry = await ctx.ledger.post(
        credit.reference,
        DEPOSIT,
        [Move(debit=credit.taken_from, credit=target, amount=vnd(payment.amount_minor))],
        data={
            "ledger_id": str(ledger_id),
            "payment_id": str(payment.payment_id),
            "intent_id": str(intent.intent_id),
        },
    )
    balance = entry.posting_of(target).after
    assert balance is not None
    ctx.conclude(CREDITED)
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


@handler
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
    wallet = await wallet_for_update(ctx, intent.user_id, intent.currency)
    ctx.tag("order_code", intent.order_code)
    ctx.tag("user_id", intent.user_id)
    if intent.status == SUCCEEDED:
        await _keep_as_duplicate(row, ctx)
    elif not wallet.is_active:
        ctx.conclude(WALLET_SUSPENDED)
    else:
        reference = release_reference(row.sepay_tx_id)
        await credit_wallet(Credit(intent, wallet, row, taken_from=SUSPENSE, reference=reference), ctx)
        ctx.resolve_review(row.event_id, "credited: the wallet is active again")
    await ctx.session.flush()


async def _keep_as_duplicate(row: PayBankTransaction, ctx: Context) -> None:
    outcome = "duplicate_payment"
    row.outcome, row.process_error = outcome, process_error_of(outcome)
    ctx.resolve_review(row.event_id, f"the intent was paid meanwhile: reviewed as {outcome} under event {ctx.event.id}")
    await ask_for_review(row.sepay_tx_id, Problem(outcome, row.intent_id), ctx)


def _payment(credit: Credit, ctx: Context) -> PayPayment:
    return PayPayment(
        payment_id=ctx.new_id(),
        user_id=credit.intent.user_id,
        intent_id=credit.intent.intent_id,
        amount_minor=credit.row.amount_in_minor,
        status=SUCCEEDED,
        provider_payment_id=str(credit.row.sepay_tx_id),
        details={"ledger_reference": credit.reference},
        created_at=ctx.now,
        updated_at=ctx.now,
    )


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
