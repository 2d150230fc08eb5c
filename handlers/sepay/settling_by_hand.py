"""Money that the hub could not book by itself: a person says to which account it came, and what was unreadable.

Two kinds of transfers are in no account of the books: those to an account that SEPAY_ACCOUNTS did not name, and those
whose amount, date or direction could not be read. From here on they go the way of any other transfer.
Source: docs/providers/sepay.md, "Operators".
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import select

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.books import VND
from handlers.sepay.matching import TransferText
from handlers.sepay.polling import SOURCE
from handlers.sepay.reviews import WHICH_WAIT, tell_of_review
from handlers.sepay.settle import book, note_problem, record
from handlers.sepay.tables import ACCOUNT_MISMATCH, PayBankTransaction
from handlers.sepay.transfers import BankTransfer, read_transfer
from handlers.sepay.wallets import settings_of
from hub.capability import handler
from hub.errors import RefusedCommand
from hub.formbody import parse_body
from hub.store import tables as t
from schemas.sepay import Transfer
from schemas.sepay_desk import TransferResolved, TransferSettled, TransferSettlement

if TYPE_CHECKING:
    from hub.deliver.context import Context

BY_HAND = "manual"


@handler
async def settle_by_hand(order: TransferSettlement, ctx: Context) -> TransferSettled:
    """Book a transfer that is in no account yet, as one to the account that a person names; says what became of it.

    Raises RefusedCommand: transfer_not_found, already_booked, not_incoming, invalid_payload (what is still to be said),
    unknown_account. Nothing is changed then.
    """
    ctx.tag("sepay_tx_id", str(order.sepay_tx_id))
    row = await ctx.session.get(PayBankTransaction, order.sepay_tx_id, with_for_update=True)
    if row is None:
        transfer, event_id = await _unreadable(order.sepay_tx_id, ctx)
        bank = _corrected(transfer, order)
        account = _account(order, bank, ctx)
        row = record(bank, account, ctx, source=BY_HAND, event_id=event_id)
    else:
        bank = _unbooked(row)
        account = _account(order, bank, ctx)
        row.bank_code = account.bank_code
    problem = await book(bank, row, account, ctx)
    row.details = {**row.details, "settled_by": order.by, "settled_to": account.account_number, "note": order.note}
    if problem is None:
        row.process_error = None
        ctx.resolve_review(row.event_id, f"settled by {order.by}: {order.note}")
    else:
        # The review that is open stays so; what is wrong now is another thing.
        note_problem(row, problem)
        await tell_of_review(row.sepay_tx_id, problem, ctx, event_id=row.event_id)
        ctx.conclude(problem.outcome)
    resolved = TransferResolved(
        sepay_tx_id=row.sepay_tx_id,
        resolution="settled",
        amount=row.amount_in_minor,
        currency=VND,
        by=order.by,
        note=order.note,
    )
    await ctx.emit("sepay.transaction.resolved", resolved, key=str(row.sepay_tx_id))
    await ctx.session.flush()
    return TransferSettled(
        sepay_tx_id=row.sepay_tx_id,
        outcome=row.outcome,
        amount=row.amount_in_minor,
        currency=VND,
        account_number=account.account_number,
    )


def _unbooked(row: PayBankTransaction) -> BankTransfer:
    if row.outcome != ACCOUNT_MISMATCH:
        raise RefusedCommand("already_booked", f"transfer {row.sepay_tx_id} is settled: {row.outcome}")
    return BankTransfer(
        id=row.sepay_tx_id,
        direction="in",
        amount_minor=row.amount_in_minor,
        booked_at=row.transaction_date,
        account_number=row.account_number,
        sub_account=row.sub_account or "",
        text=TransferText(code=row.payment_code or "", content=row.content or "", description=row.description or ""),
        reference=row.reference_number or "",
        gateway=row.gateway,
        accumulated_minor=row.accumulated_minor,
        provider_uuid=row.provider_uuid or "",
    )


async def _unreadable(sepay_tx_id: int, ctx: Context) -> tuple[Transfer, UUID]:
    """What came under this number and ended as invalid_payload, and the event that brought it."""
    brought = (
        select(t.inbox.c.id, t.inbox.c.payload, t.inbox.c.content_type)
        .join(t.tags, t.tags.c.event_id == t.inbox.c.id)
        .join(t.deliveries, t.deliveries.c.event_seq == t.inbox.c.seq)
        .where(
            t.tags.c.name == "sepay_tx_id",
            t.tags.c.value == str(sepay_tx_id),
            t.inbox.c.source == SOURCE,
            t.deliveries.c.outcome == "invalid_payload",
        )
        .order_by(t.inbox.c.seq)
        .limit(1)
    )
    found = (await ctx.session.execute(brought)).first()
    if found is None:
        raise RefusedCommand(
            "transfer_not_found", f"there is no transfer {sepay_tx_id} that waits to be booked; {WHICH_WAIT}"
        )
    return Transfer.model_validate(parse_body(found.payload, found.content_type)), found.id


def _corrected(transfer: Transfer, order: TransferSettlement) -> BankTransfer:
    if transfer.transfer_type == "out":
        raise RefusedCommand("not_incoming", f"transfer {transfer.id} is money that went out")
    said: dict[str, object] = {"transfer_type": "in"}
    if order.amount is not None:
        said["transfer_amount"] = order.amount
    if order.booked_at is not None:
        said["transaction_date"] = bank_time_text(order.booked_at)
    try:
        return read_transfer(transfer.model_copy(update=said))
    except (ValueError, ValidationError) as error:
        raise RefusedCommand("invalid_payload", f"{error}: say --amount or --booked-at") from error


def _account(order: TransferSettlement, bank: BankTransfer, ctx: Context) -> ReceivingAccount:
    accounts = settings_of(ctx).receiving
    named = (order.account_number,) if order.account_number else (bank.account_number, bank.sub_account)
    account = accounts.receiving(*named)
    if account is None:
        raise RefusedCommand("unknown_account", f"SEPAY_ACCOUNTS names no account {' or '.join(filter(None, named))}")
    return account
