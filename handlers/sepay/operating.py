"""What operators do with wallets and transfers, as functions that return data; ``cli.py`` shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.sepay.order_codes import NormalisedCode, normalise
from handlers.sepay.sandbox import Answer, Payment, deliver, signed_headers, webhook_body, webhook_fields
from handlers.sepay.sandbox_bank import SandboxBank
from handlers.sepay.sandbox_traffic import deliver_until_thanked
from handlers.sepay.settings import SepaySettings
from handlers.sepay.views import WalletLine, find_wallet, in_suspense, intent_by_code, wallet_history
from hub.errors import UsageError
from schemas.sepay import WalletOrder, WalletReply

if TYPE_CHECKING:
    from hub.api import HubApi

WEBHOOK_PATH: Final = "/webhooks/sepay"
DELIVERIES_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class SuspenseLine:
    """A transfer whose money waits for a person, and why."""

    sepay_tx_id: int
    booked_at: datetime
    amount_minor: int
    outcome: str
    content: str
    intent_id: UUID | None
    suggested_intent_id: str | None
    event_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentOrder:
    """What the sandbox's bank is asked to do. Unset means: as the intent and the configuration say."""

    order_code: str
    amount_minor: int | None = None
    content: str | None = None
    id: int | None = None
    bank: str = "bidv"
    booked_at: datetime | None = None
    is_out: bool = False
    deliveries: int = 1
    is_lost: bool = False
    retries: bool = False
    speed: float = 1.0
    url: str | None = None


async def show_wallet(api: HubApi, user_id: str) -> WalletReply:
    """The user's wallet. Raises UsageError when there is none."""
    async with api.reading() as session:
        wallet = await find_wallet(session, user_id)
    if wallet is None:
        raise UsageError(f"user {user_id} has no wallet")
    return wallet


async def show_history(api: HubApi, user_id: str, limit: int) -> Sequence[WalletLine]:
    """The movements of the user's wallet, newest first. Raises UsageError when there is none."""
    wallet = await show_wallet(api, user_id)
    async with api.reading() as session:
        return await wallet_history(session, wallet.wallet_id, limit=limit)


async def suspend(api: HubApi, user_id: str, *, by: str, reason: str) -> WalletReply:
    """Suspend the user's wallet; the order is kept as an event. Raises UsageError when there is no wallet."""
    await show_wallet(api, user_id)
    order = WalletOrder(user_id=user_id, by=by, reason=reason)
    await api.command("sepay.wallet.suspend", order, key=user_id)
    return await show_wallet(api, user_id)


async def activate(api: HubApi, user_id: str, *, by: str, reason: str) -> tuple[WalletReply, int]:
    """Activate the user's wallet; also says how many held transfers are released by that. Raises UsageError."""
    await show_wallet(api, user_id)
    order = WalletOrder(user_id=user_id, by=by, reason=reason)
    released = await api.command("sepay.wallet.activate", order, key=user_id)
    assert isinstance(released, int)
    return await show_wallet(api, user_id), released


async def list_unmatched(api: HubApi, limit: int) -> Sequence[SuspenseLine]:
    """The transfers whose money is in suspense, oldest first."""
    async with api.reading() as session:
        waiting = await in_suspense(session, limit=limit)
    return [
        SuspenseLine(
            sepay_tx_id=row.sepay_tx_id,
            booked_at=row.transaction_date,
            amount_minor=row.amount_in_minor,
            outcome=row.outcome,
            content=row.content or "",
            intent_id=row.intent_id,
            suggested_intent_id=row.details.get("suggested_intent_id"),
            event_id=row.event_id,
        )
        for row in waiting
    ]


async def pay(api: HubApi, order: PaymentOrder) -> tuple[Payment, Sequence[Answer]]:
    """Play the bank for an order code: book the transfer, build its webhook and send it, unless it is to be lost.

    For duplicates it is sent several times; with ``retries`` again after a failure, as SePay does. Raises UsageError
    when the amount is not given and no intent has this code, when no account is configured, or when nobody answers.
    """
    settings: SepaySettings = api.settings_of("sepay")
    account = settings.receiving.for_payment(None)
    if account is None:
        raise UsageError("no receiving account is configured: set SEPAY_ACCOUNTS, or HUB_SANDBOX=1")
    if not 1 <= order.deliveries <= DELIVERIES_MAX:
        raise UsageError(f"from 1 to {DELIVERIES_MAX} deliveries")
    code = normalise(order.order_code)
    now = api.clock.now()
    payment = Payment(
        # Milliseconds since 1970: larger than any id seen so far, and different from call to call.
        id=int(now.timestamp() * 1000) if order.id is None else order.id,
        code=code,
        amount_minor=order.amount_minor if order.amount_minor is not None else await _amount_of(api, code),
        booked_at=order.booked_at or now,
        bank=order.bank,
        content=order.content,
        is_out=order.is_out,
    )
    SandboxBank.of_home(api.settings.home).book(webhook_fields(payment, account))
    if order.is_lost:
        return payment, []
    body = webhook_body(payment, account)
    url = order.url or f"http://{api.settings.host}:{api.settings.port}{WEBHOOK_PATH}"

    async def send() -> Answer:
        # Signed anew each time: a timestamp is good for five minutes only.
        return await deliver(url, body, signed_headers(body, settings, api.clock.now()))

    if order.retries:
        return payment, await _send_again(send, order.speed)
    return payment, [await send() for _ in range(order.deliveries)]


async def _send_again(send: Callable[[], Awaitable[Answer]], speed: float) -> Sequence[Answer]:
    async def try_once() -> Answer | None:
        try:
            return await send()
        except UsageError:
            return None

    answers = await deliver_until_thanked(try_once, speed=speed)
    return [answer or Answer(0, "nobody answers") for answer in answers]


async def _amount_of(api: HubApi, code: NormalisedCode) -> int:
    async with api.reading() as session:
        intent = await intent_by_code(session, code)
    if intent is None:
        raise UsageError(f"no payment intent has the order code {code}: say --amount to pay nevertheless")
    return intent.amount_minor
