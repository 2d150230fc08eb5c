"""Whom a transfer is for: find the intent whose code it carries and check that it may be paid with it.

Each check has its own outcome, in a fixed order; the first that fails decides.
Source: docs/providers/sepay.md, "Processing", steps 4 to 8, and "Late money".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never
from uuid import UUID

from sqlalchemy import select

from handlers.sepay.matching import Ambiguous, Matched, Truncated, Unmatched
from handlers.sepay.order_codes import NormalisedCode
from handlers.sepay.orders import order_of_intent
from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables import (
    OPEN_STATUSES,
    SUCCEEDED,
    WALLET_TOPUP,
    PayPayment,
    PayPaymentIntent,
    PayWallet,
)
from handlers.sepay.tables_orders import PaySymbolOrder
from handlers.sepay.transfers import BankTransfer
from handlers.sepay.wallets import WALLET_SUSPENDED, settings_of, wallet_for_update

if TYPE_CHECKING:
    from hub.deliver.context import Context

_LAST_CODE_CHARS: Final = "Z" * 8
"""Sorts after everything that can follow the beginning of a code."""


@dataclass(frozen=True, slots=True)
class Payable:
    """The intent and the wallet that this money is for, and the order that it pays, if any; all locked."""

    intent: PayPaymentIntent
    wallet: PayWallet
    order: PaySymbolOrder | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """This very transfer has been booked before, under a payment that had no transfer id yet."""

    payment: PayPayment


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a person must decide; ``intent_id`` is the intent that the transfer names, if it names one."""

    outcome: str
    intent_id: UUID | None = None
    partial_code: str | None = None
    suggested_intent_id: UUID | None = None

    @property
    def details(self) -> dict[str, Any]:
        """What the bank transaction keeps beside the outcome."""
        found = {"partial_code": self.partial_code, "suggested_intent_id": self.suggested_intent_id}
        return {name: str(value) for name, value in found.items() if value is not None}


Verdict: TypeAlias = Payable | Seen | Problem


async def assign(bank: BankTransfer, ctx: Context) -> Verdict:
    """Decide whom an incoming transfer to one of our accounts is for."""
    candidates = bank.text.candidates()
    issued: set[NormalisedCode] = set()
    if candidates:
        known = select(PayPaymentIntent.order_code_norm).where(PayPaymentIntent.order_code_norm.in_(candidates))
        issued = {NormalisedCode(code) for code in await ctx.session.scalars(known)}
    found = bank.text.match(issued)
    match found:
        case Matched(code=code):
            return await _check(bank, code, ctx)
        case Ambiguous():
            return Problem("ambiguous_match")
        case Truncated(partial=partial):
            suggested = await _suggestion(partial, bank.amount_minor, ctx)
            return Problem("truncated_code", partial_code=partial, suggested_intent_id=suggested)
        case Unmatched():
            return Problem("unmatched")
        case _:
            assert_never(found)


def is_late(booked_at: datetime, intent: PayPaymentIntent, settings: SepaySettings) -> bool:
    """Whether the bank booked the money after the intent's end.

    Bank time decides and not the webhook's arrival: the webhook may be hours late while the payer was in time.
    """
    return booked_at > intent.expires_at + timedelta(seconds=settings.expiry_grace_seconds)


async def _check(bank: BankTransfer, code: NormalisedCode, ctx: Context) -> Verdict:
    settings = settings_of(ctx)
    locked = select(PayPaymentIntent).where(PayPaymentIntent.order_code_norm == code).with_for_update()
    intent = (await ctx.session.scalars(locked)).one()
    ctx.tag("order_code", intent.order_code)
    ctx.tag("user_id", intent.user_id)

    if intent.status == SUCCEEDED:
        payment = await _payment_without_id(bank, intent, ctx)
        return Seen(payment) if payment else Problem("duplicate_payment", intent.intent_id)
    if bank.amount_minor != intent.amount_minor:
        return Problem("amount_mismatch", intent.intent_id)
    is_topup = intent.purpose == WALLET_TOPUP
    if is_late(bank.booked_at, intent, settings) and not (is_topup and settings.late_policy == "credit_wallet"):
        return Problem("late_payment", intent.intent_id)
    order = await order_of_intent(intent, ctx)
    if not is_topup and (order is None or not order.is_payable):
        return Problem("order_not_payable", intent.intent_id)
    # Also for an order that the wallet does not pay: its row stands for the user, whose licences will change.
    wallet = await wallet_for_update(ctx, intent.user_id, intent.currency)
    if is_topup and not wallet.is_active:
        return Problem(WALLET_SUSPENDED, intent.intent_id)
    return Payable(intent, wallet, order)


async def _payment_without_id(bank: BankTransfer, intent: PayPaymentIntent, ctx: Context) -> PayPayment | None:
    if not bank.reference or bank.reference != intent.reference_code:
        return None
    return await ctx.session.scalar(
        select(PayPayment).where(
            PayPayment.intent_id == intent.intent_id,
            PayPayment.provider_payment_id.is_(None),
            PayPayment.amount_minor == bank.amount_minor,
        )
    )


async def _suggestion(partial: str, amount_minor: int, ctx: Context) -> UUID | None:
    # A range instead of LIKE, so that the unique index is used whatever the collation.
    begins = select(PayPaymentIntent).where(
        PayPaymentIntent.order_code_norm.between(partial, partial + _LAST_CODE_CHARS),
        PayPaymentIntent.status.in_(OPEN_STATUSES),
    )
    open_intents = (await ctx.session.scalars(begins.limit(2))).all()
    if len(open_intents) != 1 or open_intents[0].amount_minor != amount_minor:
        return None
    return open_intents[0].intent_id
