"""Payment intents and their attempts: how they come to be, and how they end when nobody pays.

Source: docs/providers/sepay.md, "Order codes" and "Jobs".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import exists, func, select, update

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.order_codes import OrderCode, normalise, random_hex_of
from handlers.sepay.orders import order_in
from handlers.sepay.qr import qr_url
from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables import (
    EXPIRED,
    OPEN_STATUSES,
    PROCESSING,
    REQUIRES_PAYMENT_METHOD,
    WALLET_TOPUP,
    PayBankTransaction,
    PayPaymentAttempt,
    PayPaymentIntent,
    PayWallet,
)
from handlers.sepay.wallets import WALLET_SUSPENDED, settings_of
from hub.capability import handler
from hub.errors import RefusedCommand
from hub.event import Event
from schemas.sepay_events import PaymentExpired

if TYPE_CHECKING:
    from hub.deliver.context import Context

RATE_WINDOW: Final = timedelta(minutes=1)
CODE_ATTEMPTS_MAX: Final = 5
EXPIRED_PER_RUN_MAX: Final = 1_000
"""How many intents one run of the job ends; the next run goes on."""


@dataclass(frozen=True, slots=True)
class IntentPlan:
    """What is to be paid, onto which account, and until when."""

    purpose: str
    amount_minor: int
    account: ReceivingAccount
    expires_at: datetime
    details: dict[str, Any] = field(default_factory=dict)
    return_url: str | None = None
    cancel_url: str | None = None


async def open_intent(wallet: PayWallet, code: OrderCode, plan: IntentPlan, ctx: Context) -> PayPaymentIntent:
    """Store an intent of the wallet's user; it waits for an attempt or for its money."""
    settings = settings_of(ctx)
    intent = PayPaymentIntent(
        intent_id=ctx.new_id(),
        user_id=wallet.user_id,
        purpose=plan.purpose,
        amount_minor=plan.amount_minor,
        currency=wallet.currency,
        status=REQUIRES_PAYMENT_METHOD,
        order_code=code,
        order_code_norm=normalise(code),
        qr_code_url=qr_url(
            account_number=plan.account.payee_number,
            bank=plan.account.qr_bank,
            amount_minor=plan.amount_minor,
            content=plan.account.content_of(transfer_content(code, settings)),
            base=settings.qr_base,
        ),
        deep_link=_deep_link(code, plan.amount_minor, settings),
        return_url=plan.return_url,
        cancel_url=plan.cancel_url,
        expires_at=plan.expires_at,
        details=plan.details,
        created_at=ctx.now,
        updated_at=ctx.now,
    )
    ctx.session.add(intent)
    await ctx.session.flush()
    ctx.tag("order_code", code)
    ctx.tag("user_id", wallet.user_id)
    return intent


async def add_attempt(intent: PayPaymentIntent, account: ReceivingAccount, ctx: Context) -> PayPaymentAttempt:
    """Store what the payer is shown; from now on the intent is processing."""
    attempt = PayPaymentAttempt(
        attempt_id=ctx.new_id(),
        intent_id=intent.intent_id,
        status=PROCESSING,
        bank_code=account.bank_code,
        account_number=account.payee_number,
        account_name=account.payee_name,
        transfer_content=account.content_of(transfer_content(OrderCode(intent.order_code), settings_of(ctx))),
        transfer_amount_minor=intent.amount_minor,
        qr_image_url=intent.qr_code_url,
        expires_at=intent.expires_at,
        details={},
        created_at=ctx.now,
    )
    intent.status = PROCESSING
    ctx.session.add(attempt)
    await ctx.session.flush()
    return attempt


async def fresh_code(make: Callable[[datetime, str], OrderCode], ctx: Context) -> OrderCode:
    """An order code of the kind that ``make`` writes, which no intent has yet."""
    # The unique key has the last word; this look spares a user the one collision in four thousand million.
    for _ in range(CODE_ATTEMPTS_MAX):
        code = make(ctx.now, random_hex_of(ctx.new_id()))
        taken = select(PayPaymentIntent.intent_id).where(PayPaymentIntent.order_code_norm == normalise(code))
        if await ctx.session.scalar(taken) is None:
            return code
    raise RuntimeError(f"no free order code in {CODE_ATTEMPTS_MAX} attempts")


async def refuse_hurry(wallet: PayWallet, ctx: Context) -> None:
    """Raise RefusedCommand (too_many_requests) when the user has opened many intents within a minute.

    The wallet must be locked, so that parallel requests of one user are counted one after another.
    """
    limit = settings_of(ctx).intents_per_minute_max
    recent = select(func.count()).where(
        PayPaymentIntent.user_id == wallet.user_id, PayPaymentIntent.created_at > ctx.now - RATE_WINDOW
    )
    if limit and (await ctx.session.scalar(recent) or 0) >= limit:
        raise RefusedCommand("too_many_requests", "Too many payment requests, please try again in a minute")


@handler
async def expire_intents(event: Event, ctx: Context) -> None:
    """End the intents whose time is over, with their open attempts. Running it again ends nothing twice.

    Where the money of an intent is held for a suspended wallet, the intent stays open: it was paid in time.
    """
    is_held = exists().where(
        PayBankTransaction.intent_id == PayPaymentIntent.intent_id,
        PayBankTransaction.in_suspense,
        PayBankTransaction.outcome == WALLET_SUSPENDED,
    )
    due = (
        select(PayPaymentIntent.intent_id)
        .where(PayPaymentIntent.status.in_(OPEN_STATUSES), PayPaymentIntent.expires_at < ctx.now, ~is_held)
        .order_by(PayPaymentIntent.intent_id)
        .limit(EXPIRED_PER_RUN_MAX)
        .with_for_update(skip_locked=True)
    )
    # A row that a payment holds at this moment is skipped: it is being paid, or the next run finds it.
    ended = await _end((await ctx.session.scalars(due)).all(), ctx)
    ctx.tag("expired", str(ended))
    ctx.conclude("expired" if ended else "nothing_due")


async def end_intents(ctx: Context, *, order_id: UUID, user_id: str, skip_locked: bool = False) -> None:
    """End the open intents of one order of this user, top-ups for it included: it is not for sale any more."""
    open_ones = select(
        PayPaymentIntent.intent_id, PayPaymentIntent.purpose, PayPaymentIntent.order_id, PayPaymentIntent.details
    ).where(PayPaymentIntent.user_id == user_id, PayPaymentIntent.status.in_(OPEN_STATUSES))
    of_order = [
        intent_id
        for intent_id, purpose, paid_order, details in await ctx.session.execute(open_ones)
        if order_id in (paid_order, order_in(details) if purpose == WALLET_TOPUP else None)
    ]
    locked = (
        select(PayPaymentIntent.intent_id)
        .where(PayPaymentIntent.intent_id.in_(of_order), PayPaymentIntent.status.in_(OPEN_STATUSES))
        .order_by(PayPaymentIntent.intent_id)
        .with_for_update(skip_locked=skip_locked)
    )
    await _end((await ctx.session.scalars(locked)).all(), ctx)


async def _end(ids: Sequence[UUID], ctx: Context) -> int:
    """Expire these intents, which are locked, with their open attempts; tell of each; says how many there were."""
    if not ids:
        return 0
    ended = await ctx.session.execute(
        update(PayPaymentIntent)
        .where(PayPaymentIntent.intent_id.in_(ids), PayPaymentIntent.status.in_(OPEN_STATUSES))
        .values(status=EXPIRED, updated_at=ctx.now)
        .returning(
            PayPaymentIntent.intent_id,
            PayPaymentIntent.user_id,
            PayPaymentIntent.order_code,
            PayPaymentIntent.amount_minor,
            PayPaymentIntent.purpose,
            PayPaymentIntent.order_id,
        )
        .execution_options(synchronize_session=False)
    )
    rows = ended.all()
    await ctx.session.execute(
        update(PayPaymentAttempt)
        .where(PayPaymentAttempt.intent_id.in_(ids), PayPaymentAttempt.status.in_(OPEN_STATUSES))
        .values(status=EXPIRED)
        .execution_options(synchronize_session=False)
    )
    for intent_id, user_id, order_code, amount_minor, purpose, order_id in rows:
        message = PaymentExpired(
            intent_id=intent_id,
            user_id=user_id,
            order_code=order_code,
            amount=amount_minor,
            purpose=purpose,
            order_id=order_id,
        )
        await ctx.emit("payment.expired", message, key=user_id)
    return len(rows)


def transfer_content(code: OrderCode, settings: SepaySettings) -> str:
    """What the payer writes into the transfer. Banks drop separators, so it is the normalised form by default."""
    return code if settings.content_form == "stored" else normalise(code)


def _deep_link(code: OrderCode, amount_minor: int, settings: SepaySettings) -> str | None:
    template = settings.deep_link_template
    return template.replace("{order_code}", code).replace("{amount}", str(amount_minor)) if template else None
