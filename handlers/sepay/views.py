"""What the wallet shows to its user and to operators. Reads only; balances come from the ledger.

Source: docs/providers/sepay.md, "HTTP API".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Boolean, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.books import VND, wallet_account
from handlers.sepay.tables import (
    ACCOUNT_MISMATCH,
    PayBankTransaction,
    PayPayment,
    PayPaymentAttempt,
    PayPaymentIntent,
    PayWallet,
)
from hub.ledger.model import Posting
from hub.ledger.read import find_account, find_entry, list_entries
from hub.money import Money
from schemas.sepay import IntentReply, TopupStatus, WalletReply

PAGE_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class WalletLine:
    """One movement of a wallet, as an operator reads it."""

    posted_at: datetime
    kind: str
    reference: str
    change_minor: int
    before_minor: int
    after_minor: int


async def find_wallet(session: AsyncSession, user_id: str, currency: str = VND) -> WalletReply | None:
    """The user's wallet with its balance; None when it was never opened."""
    wallet = await session.scalar(select(PayWallet).where(PayWallet.user_id == user_id, PayWallet.currency == currency))
    if wallet is None:
        return None
    return WalletReply(
        wallet_id=wallet.id,
        balance=await _balance(session, wallet.id),
        currency=wallet.currency,
        status=wallet.status,
        created_at=wallet.created_at,
        updated_at=wallet.updated_at,
    )


async def wallet_history(session: AsyncSession, wallet_id: UUID, *, limit: int) -> Sequence[WalletLine]:
    """The wallet's movements, newest first."""
    code = wallet_account(wallet_id).code
    conn = await session.connection()
    entries = await list_entries(conn, account=code, limit=min(limit, PAGE_MAX))
    return [
        WalletLine(
            posted_at=entry.posted_at,
            kind=entry.kind,
            reference=entry.reference,
            change_minor=posting.delta.amount_minor,
            before_minor=_minor(posting.before),
            after_minor=_minor(posting.after),
        )
        for entry in entries
        for posting in reversed(entry.postings)
        if posting.account == code
    ]


async def find_intent(session: AsyncSession, user_id: str, intent_id: UUID, now: datetime) -> IntentReply | None:
    """The user's own intent; someone else's is None."""
    intent = await _own_intent(session, user_id, intent_id)
    if intent is None:
        return None
    return IntentReply(
        intent_id=intent.intent_id,
        order_code=intent.order_code,
        amount=intent.amount_minor,
        status=intent.status,
        purpose=intent.purpose,
        expires_at=intent.expires_at,
        is_expired=intent.has_expired(now),
        created_at=intent.created_at,
        updated_at=intent.updated_at,
    )


async def topup_status(session: AsyncSession, user_id: str, intent_id: UUID, now: datetime) -> TopupStatus | None:
    """How far the user's own top-up is; someone else's is None."""
    intent = await _own_intent(session, user_id, intent_id)
    if intent is None:
        return None
    attempt = await session.scalar(
        select(PayPaymentAttempt)
        .where(PayPaymentAttempt.intent_id == intent_id)
        .order_by(PayPaymentAttempt.created_at.desc())
        .limit(1)
    )
    payment = await session.scalar(
        select(PayPayment).where(PayPayment.intent_id == intent_id).order_by(PayPayment.created_at.desc()).limit(1)
    )
    posting = await _posting(session, payment)
    return TopupStatus(
        intent_id=intent.intent_id,
        order_code=intent.order_code,
        amount=intent.amount_minor,
        status=intent.status,
        is_expired=intent.has_expired(now),
        qr_image_url=intent.qr_code_url,
        account_number=attempt.account_number if attempt else None,
        account_name=attempt.account_name if attempt else None,
        transfer_content=attempt.transfer_content if attempt else None,
        bank_code=attempt.bank_code if attempt else None,
        expires_at=intent.expires_at,
        payment_id=payment.payment_id if payment else None,
        provider_payment_id=payment.provider_payment_id if payment else None,
        balance_before=_minor(posting.before) if posting else None,
        balance_after=_minor(posting.after) if posting else None,
        completed_at=payment.created_at if payment else None,
        message=f"Topup status: {intent.status}",
    )


async def in_suspense(session: AsyncSession, *, limit: int) -> Sequence[PayBankTransaction]:
    """The transfers whose money waits for a person, oldest first: in suspense, or to an account that is not ours."""
    # Two queries, each over an index of its own that holds only such rows.
    found: list[PayBankTransaction] = []
    for waits in (PayBankTransaction.in_suspense, literal_column(f"outcome = '{ACCOUNT_MISMATCH}'", Boolean)):
        query = select(PayBankTransaction).where(waits, PayBankTransaction.amount_in_minor > 0)
        found += await session.scalars(query.order_by(PayBankTransaction.created_at).limit(min(limit, PAGE_MAX)))
    return sorted(found, key=lambda row: row.created_at)[:limit]


async def intent_by_code(session: AsyncSession, order_code_norm: str) -> PayPaymentIntent | None:
    """The intent with this normalised order code."""
    return await session.scalar(select(PayPaymentIntent).where(PayPaymentIntent.order_code_norm == order_code_norm))


async def _own_intent(session: AsyncSession, user_id: str, intent_id: UUID) -> PayPaymentIntent | None:
    return await session.scalar(
        select(PayPaymentIntent).where(PayPaymentIntent.intent_id == intent_id, PayPaymentIntent.user_id == user_id)
    )


async def _balance(session: AsyncSession, wallet_id: UUID) -> int:
    # The ledger opens an account when it is first moved.
    account = await find_account(await session.connection(), wallet_account(wallet_id).code)
    return account.balance.amount_minor if account else 0


async def _posting(session: AsyncSession, payment: PayPayment | None) -> Posting | None:
    if payment is None:
        return None
    entry = await find_entry(await session.connection(), str(payment.details["ledger_reference"]))
    if entry is None:
        return None
    return next((posting for posting in entry.postings if posting.account.startswith("sepay:wallet:")), None)


def _minor(balance: Money | None) -> int:
    assert balance is not None, "a wallet has a running balance"
    return balance.amount_minor
