"""A bank transfer has come in: whose is it, and where does its money go.

Every transfer to one of our accounts is booked once: from the bank's clearing account to the wallet that it was meant
for, or to suspense when it cannot be assigned for sure. Source: docs/providers/sepay.md, "Processing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never
from uuid import UUID

from handlers.sepay.assigning import Payable, Problem, Seen, assign
from handlers.sepay.books import SUSPEND, SUSPENSE, bank_account, transfer_reference, vnd
from handlers.sepay.crediting import Credit, settle_intent
from handlers.sepay.locking import lock_together
from handlers.sepay.reviews import ask_for_review, process_error_of
from handlers.sepay.tables import ACCOUNT_MISMATCH, PayBankTransaction
from handlers.sepay.transfers import BankTransfer, is_test, read_transfer
from handlers.sepay.twins import claim_twin
from handlers.sepay.wallets import settings_of
from hub.capability import handler
from hub.event import Verdict
from hub.ledger.model import Move
from schemas.sepay import Transfer

if TYPE_CHECKING:
    from handlers.sepay.accounts import ReceivingAccount
    from hub.deliver.context import Context


@handler(ahead=lock_together)
async def settle_transfer(transfer: Transfer, ctx: Context) -> None:
    """Book one transfer and credit the wallet, or pay the order, whose code it carries.

    Running it again for the same transfer changes nothing. A transfer that cannot be assigned ends in review with the
    outcome that says why; its money, when it came to one of our accounts, waits in ``sepay:suspense``.
    """
    ctx.tag("sepay_tx_id", str(transfer.id))
    # Money on the statement is money, whatever somebody wrote beside it.
    if transfer.id == 0 or (is_test(transfer) and not _is_on_statement(ctx)):
        ctx.conclude("test_ping")
        return
    try:
        bank = read_transfer(transfer)
    except ValueError as error:
        await ask_for_review(transfer.id, Problem("invalid_payload"), ctx, detail=str(error))
        return
    if await ctx.session.get(PayBankTransaction, bank.id) is not None:
        ctx.conclude("ignored_duplicate")
        return
    if await claim_twin(bank, ctx, settings_of(ctx)) is not None:
        ctx.conclude("ignored_duplicate")
        await ctx.session.flush()
        return

    account = settings_of(ctx).receiving.receiving(bank.account_number, bank.sub_account)
    row = record(bank, account, ctx)
    if bank.direction == "out":
        row.outcome = "ignored_out"
        ctx.conclude("ignored_out")
    elif (problem := await _place(bank, row, account, ctx)) is not None:
        note_problem(row, problem)
        await ask_for_review(row.sepay_tx_id, problem, ctx)
    await ctx.session.flush()


async def _place(
    bank: BankTransfer, row: PayBankTransaction, account: ReceivingAccount | None, ctx: Context
) -> Problem | None:
    return Problem(ACCOUNT_MISMATCH) if account is None else await book(bank, row, account, ctx)


async def book(bank: BankTransfer, row: PayBankTransaction, account: ReceivingAccount, ctx: Context) -> Problem | None:
    """Book an incoming transfer to one of our accounts, whose row is new or not in the books yet.

    Answers with the problem when a person must decide; the money is in suspense then.
    """
    # Step by step as a person would check it; the first thing that does not fit decides.
    clearing = bank_account(account.account_number)
    verdict = await assign(bank, ctx)
    match verdict:
        case Payable(intent=intent, wallet=wallet, order=order):
            row.intent_id = intent.intent_id
            reference = transfer_reference(bank.id)
            credit = Credit(intent, wallet, row, taken_from=clearing, reference=reference, order=order)
            await settle_intent(credit, ctx)
        case Seen(payment=payment):
            # Already booked without an id; now it has one.
            payment.provider_payment_id = str(bank.id)
            row.intent_id, row.payment_id = payment.intent_id, payment.payment_id
            row.outcome, row.process_error = "already_processed", None
            ctx.conclude("already_processed")
        case Problem():
            moves = [Move(debit=clearing, credit=SUSPENSE, amount=vnd(bank.amount_minor))]
            await ctx.ledger.post(transfer_reference(bank.id), SUSPEND, moves, data={"outcome": verdict.outcome})
            row.in_suspense = True
            return verdict
        case _:
            assert_never(verdict)
    return None


def note_problem(row: PayBankTransaction, problem: Problem) -> None:
    """Keep with the transfer why a person must decide on it."""
    row.outcome = problem.outcome
    row.process_error = process_error_of(problem.outcome)
    row.intent_id = problem.intent_id
    row.details = {**row.details, **problem.details}


def _is_on_statement(ctx: Context) -> bool:
    # What no sender was proven for was fetched: the poll brought it, or a person.
    return ctx.event.verdict is Verdict.TRUSTED


def record(
    bank: BankTransfer,
    account: ReceivingAccount | None,
    ctx: Context,
    *,
    source: str = "",
    event_id: UUID | None = None,
) -> PayBankTransaction:
    """A new row for a transfer that the hub has not heard of; ``event_id`` is the event that brought it."""
    is_in = bank.direction == "in"
    row = PayBankTransaction(
        sepay_tx_id=bank.id,
        transaction_date=bank.booked_at,
        account_number=bank.account_number,
        sub_account=bank.sub_account or None,
        amount_in_minor=bank.amount_minor if is_in else 0,
        amount_out_minor=0 if is_in else bank.amount_minor,
        accumulated_minor=bank.accumulated_minor,
        content=bank.text.content or None,
        description=bank.text.description or None,
        payment_code=bank.text.code or None,
        reference_number=bank.reference or None,
        gateway=bank.gateway,
        bank_code=account.bank_code if account else None,
        source=source or ("reconcile" if _is_on_statement(ctx) else "webhook"),
        provider_uuid=bank.provider_uuid or None,
        created_at=ctx.now,
        event_id=event_id or ctx.event.id,
        outcome="",
        in_suspense=False,
        details={},
    )
    ctx.session.add(row)
    return row
