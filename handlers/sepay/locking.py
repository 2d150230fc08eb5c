"""What a batch of transfers and renewals will lock, locked at once and in one order before the first of them runs.

Whose wallet a transfer is for is known only when it is read. Two workers that lock wallets in the order of arrival wait
for each other in a circle sooner or later; in the order bank transaction, intent, order, wallet, each kind by its key,
they only queue. What nobody has foreseen is locked on touch, as ever. Source: docs/extending.md, "Locks of a batch".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, or_, select

from handlers.sepay.books import VND, wallet_account
from handlers.sepay.orders import order_in
from handlers.sepay.tables import WALLET_TOPUP, PayBankTransaction, PayPaymentIntent, PayWallet
from handlers.sepay.tables_orders import PaySymbolOrder
from handlers.sepay.transfers import read_transfer
from schemas.sepay import HeldTransferReleased, Transfer
from schemas.sepay_events import RenewalDue

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from hub.ledger.model import Account


@dataclass(slots=True)
class _Wanted:
    codes: set[str] = field(default_factory=set)
    held: set[int] = field(default_factory=set)
    users: set[str] = field(default_factory=set)


class _Intent(NamedTuple):
    user_id: str
    purpose: str
    order_id: UUID | None
    details: Mapping[str, Any]


async def lock_together(arguments: Sequence[object], conn: AsyncConnection) -> Sequence[Account]:
    """Lock what these transfers, releases and renewals will touch; answers with the accounts of their wallets."""
    wanted = _Wanted()
    for argument in arguments:
        _foresee(argument, wanted)
    intents = await _lock_intents(wanted, conn)
    orders = {order_in(details) if purpose == WALLET_TOPUP else order_id for _, purpose, order_id, details in intents}
    await _lock_orders({order_id for order_id in orders if order_id is not None}, conn)
    users = wanted.users | {user_id for user_id, *_ in intents}
    if not users:
        return ()
    wallets = select(PayWallet.id).where(PayWallet.user_id.in_(sorted(users)), PayWallet.currency == VND)
    return [wallet_account(wallet_id) for wallet_id in await conn.scalars(_ordered(wallets, PayWallet.user_id))]


def _foresee(argument: object, wanted: _Wanted) -> None:
    match argument:
        case Transfer():
            try:
                wanted.codes.update(read_transfer(argument).text.candidates())
            except ValueError:
                # It moves nothing; its handler will say so.
                return
        case HeldTransferReleased():
            wanted.held.add(argument.sepay_tx_id)
        case RenewalDue():
            wanted.users.add(argument.user_id)


async def _lock_intents(wanted: _Wanted, conn: AsyncConnection) -> Sequence[_Intent]:
    ids: list[UUID] = []
    if wanted.held:
        rows = select(PayBankTransaction.intent_id).where(PayBankTransaction.sepay_tx_id.in_(sorted(wanted.held)))
        ids = [one for one in await conn.scalars(_ordered(rows, PayBankTransaction.sepay_tx_id)) if one is not None]
    if not wanted.codes and not ids:
        return ()
    named = or_(PayPaymentIntent.order_code_norm.in_(sorted(wanted.codes)), PayPaymentIntent.intent_id.in_(ids))
    intent = PayPaymentIntent
    query = select(intent.user_id, intent.purpose, intent.order_id, intent.details).where(named)
    return [_Intent(*row) for row in await conn.execute(_ordered(query, intent.intent_id))]


async def _lock_orders(ids: Collection[UUID], conn: AsyncConnection) -> None:
    if ids:
        query = select(PaySymbolOrder.order_id).where(PaySymbolOrder.order_id.in_(ids))
        await conn.execute(_ordered(query, PaySymbolOrder.order_id))


def _ordered(query: Select[Any], column: Any) -> Select[Any]:
    return query.order_by(column).with_for_update()
