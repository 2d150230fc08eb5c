"""What operators decide about money, as functions that return data; ``desk_cli.py`` shows it.

Each order is an event with who and why, and runs in one transaction. Its review is closed with the same note.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from handlers.sepay.operating import show_wallet
from handlers.sepay.order_codes import normalise
from handlers.sepay.views import intent_by_code
from hub.errors import UsageError
from hub.operate.review import resolve_review
from schemas.sepay_desk import (
    TransferAssignment,
    TransferRefundNote,
    TransferSettled,
    TransferSettlement,
    WalletAdjusted,
    WalletAdjustment,
)

if TYPE_CHECKING:
    from hub.api import HubApi


async def assign(api: HubApi, sepay_tx_id: int, *, intent: str | None, user_id: str | None, by: str, note: str) -> int:
    """Assign money in suspense to an intent (id or order code) or a user; answers how many reviews that closed.

    Raises UsageError for an order that makes no sense, RefusedCommand for one that cannot be carried out.
    """
    if (intent is None) == (user_id is None):
        raise UsageError("say either --intent or --user")
    _require(note)
    if user_id is not None:
        # A wallet is opened on demand; a mistyped user must not get one, with money in it.
        await show_wallet(api, user_id)
    intent_id = None if intent is None else await _intent_id(api, intent)
    order = TransferAssignment(sepay_tx_id=sepay_tx_id, intent_id=intent_id, user_id=user_id, by=by, note=note)
    event_id = await api.command("sepay.transfer.assign", order, key=str(sepay_tx_id))
    return await _close_reviews(api, event_id, by=by, note=note)


async def settle(api: HubApi, order: TransferSettlement) -> TransferSettled:
    """Book a transfer that is in no account of the books. Raises RefusedCommand."""
    done = await api.command("sepay.transfer.settle", order, key=str(order.sepay_tx_id))
    assert isinstance(done, TransferSettled)
    return done


def settlement(
    sepay_tx_id: int, *, to: str | None, amount: int | None, booked_at: datetime | None, by: str, note: str
) -> TransferSettlement:
    """What a person says of such a transfer. Raises UsageError without a note."""
    _require(note)
    return TransferSettlement(
        sepay_tx_id=sepay_tx_id, account_number=to, amount=amount, booked_at=booked_at, by=by, note=note
    )


async def note_refund(api: HubApi, sepay_tx_id: int, *, by: str, note: str) -> int:
    """Book that money in suspense was sent back; answers how many reviews that closed. Raises RefusedCommand."""
    _require(note)
    order = TransferRefundNote(sepay_tx_id=sepay_tx_id, by=by, note=note)
    event_id = await api.command("sepay.transfer.refund_note", order, key=str(sepay_tx_id))
    return await _close_reviews(api, event_id, by=by, note=note)


async def refund(api: HubApi, order: WalletAdjustment, *, request_id: str | None) -> WalletAdjusted:
    """Give money back into a wallet. Raises UsageError for a user without one, and for a repeated ``request_id``."""
    return await _adjust(api, "sepay.wallet.refund", order, request_id)


async def withdraw(api: HubApi, order: WalletAdjustment, *, request_id: str | None) -> WalletAdjusted:
    """Take money out of a wallet that was paid at the bank. Raises UsageError, RefusedCommand."""
    return await _adjust(api, "sepay.wallet.withdraw", order, request_id)


async def _adjust(api: HubApi, type_: str, order: WalletAdjustment, request_id: str | None) -> WalletAdjusted:
    await show_wallet(api, order.user_id)
    dedupe_id = f"{type_}/{request_id}" if request_id else None
    done = await api.command(type_, order, key=order.user_id, dedupe_id=dedupe_id)
    assert isinstance(done, WalletAdjusted)
    return done


def adjustment(user_id: str, amount: int, *, by: str, note: str, order_id: UUID | None = None) -> WalletAdjustment:
    """What is to be done to a wallet. Raises UsageError without a note."""
    _require(note)
    return WalletAdjustment(user_id=user_id, amount=amount, order_id=order_id, by=by, note=note)


async def _intent_id(api: HubApi, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        async with api.reading() as session:
            intent = await intent_by_code(session, normalise(text))
    if intent is None:
        raise UsageError(f"--intent: no payment intent has the id or order code {text}")
    return intent.intent_id


async def _close_reviews(api: HubApi, event_id: object, *, by: str, note: str) -> int:
    try:
        return len(await resolve_review(api.store, api.clock, str(event_id), actor=by, note=note))
    except UsageError:
        # Closed by hand before: the money is what counts.
        return 0


def _require(note: str) -> None:
    if not note.strip():
        raise UsageError("--note: expected why, found nothing")
