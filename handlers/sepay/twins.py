"""One transfer under two names: version 2 of the transaction list does not know the number that the webhook carries.

What both say alike (the account, the direction, the amount, the bank's reference and time) tells that they are one.
Each row has at most one twin, so that two transfers that look the same stay two. Source: docs/providers/sepay.md,
"Reconciliation".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.accounts import Accounts
from handlers.sepay.settings import SepaySettings
from handlers.sepay.statement import MADE_ID_MIN, is_made
from handlers.sepay.tables import PayBankTransaction
from handlers.sepay.transfers import BankTransfer
from hub.event import stable_hash

if TYPE_CHECKING:
    from hub.deliver.context import Context


async def claim_twin(bank: BankTransfer, ctx: Context, settings: SepaySettings) -> PayBankTransaction | None:
    """The row under which this transfer is booked already by its other name; from now on that row knows both.

    None when there is none: so always with version 1, whose numbers are the webhook's, unless version 2 came before it.
    """
    if settings.api_version == "2":
        await _alone(bank, ctx)
    for row in await looking_alike(ctx.session, bank, settings.receiving):
        if is_made(bank.id) and row.provider_uuid in (None, bank.provider_uuid):
            row.provider_uuid = bank.provider_uuid
            return row
        if not is_made(bank.id) and row.webhook_id in (None, bank.id):
            row.webhook_id = bank.id
            return row
    return None


async def looking_alike(session: AsyncSession, bank: BankTransfer, accounts: Accounts) -> Sequence[PayBankTransaction]:
    """The rows of the other kind of name that say the same of a transfer, oldest first."""
    amount: ColumnElement[bool] = (
        PayBankTransaction.amount_in_minor == bank.amount_minor
        if bank.direction == "in"
        else PayBankTransaction.amount_out_minor == bank.amount_minor
    )
    other_name = (
        PayBankTransaction.sepay_tx_id < MADE_ID_MIN
        if is_made(bank.id)
        else PayBankTransaction.sepay_tx_id >= MADE_ID_MIN
    )
    rows = await session.scalars(
        select(PayBankTransaction)
        .where(PayBankTransaction.transaction_date == bank.booked_at, amount, other_name)
        .order_by(PayBankTransaction.created_at, PayBankTransaction.sepay_tx_id)
    )
    ours = _names(bank.account_number, bank.sub_account, accounts)
    return [
        row
        for row in rows
        if (row.reference_number or "") == bank.reference
        and ours & _names(row.account_number, row.sub_account or "", accounts)
    ]


def _names(number: str, sub_account: str, accounts: Accounts) -> set[str]:
    # One of the two may name the virtual account alone, and the other the main one.
    account = accounts.receiving(number, sub_account)
    return {account.account_number} if account else {name for name in (number, sub_account) if name}


async def _alone(bank: BankTransfer, ctx: Context) -> None:
    """Until the end of the transaction nobody else books a transfer of this time and amount (SQLite: nobody at all)."""
    if ctx.session.get_bind().dialect.name != "postgresql":
        return
    name = stable_hash("sepay twin", bank.booked_at.isoformat(), str(bank.amount_minor))
    await ctx.session.execute(select(func.pg_advisory_xact_lock(int.from_bytes(name[:8], "big", signed=True))))
