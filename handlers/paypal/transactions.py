"""Payments that PayPal lists and no webhook has told: looked for where one is late, and booked as its event would be.

Source: Subscriptions v1, "List transactions"; docs/providers/paypal.md, "Asking PayPal".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from handlers.paypal.asking import LOOK_BACK, Transaction, recorded, transactions
from handlers.paypal.events import SALE_COMPLETED, PaypalEvent
from handlers.paypal.office import office_of
from handlers.paypal.payments import apply_sale
from handlers.paypal.recording import record
from handlers.paypal.settings import PaypalSettings
from hub.capability import calls, handler
from hub.flow.priority import Priority
from hub.money import Money
from schemas.paypal import PaymentCheck, TransactionFound

if TYPE_CHECKING:
    from hub.deliver.context import Context

FOUND_TYPE: Final = "paypal.transaction.found"
EVENT_OF: Final = {"PENDING": "PAYMENT.SALE.PENDING", "DECLINED": "PAYMENT.SALE.DENIED"}


@calls("paypal", priority=Priority.SWEEP)
async def check_payment(check: PaymentCheck, ctx: Context) -> None:
    """Look at PayPal what has become of a payment that was pending, and go on with it when that is decided."""
    ctx.tag("payment", check.payment_id)
    settings: PaypalSettings = ctx.settings
    ask = office_of(settings.account(check.account)).client.ask

    async def question() -> Mapping[str, Any]:
        listed = await transactions(ask, check.subscription_id, check.since - LOOK_BACK, ctx.now)
        mine = [one for one in listed if one.payment_id == check.payment_id]
        return found_form(mine[0], check.subscription_id, check.account) if mine else {}

    request = {"subscription_id": check.subscription_id, "payment_id": check.payment_id}
    said = await recorded(ctx, "transactions", request, question)
    if not said or said["status"] == "PENDING":
        ctx.conclude("still_pending" if said else "not_listed")
        return
    found = TransactionFound.model_validate(said)
    await ctx.begin()
    await ctx.emit(FOUND_TYPE, found, key=found.subscription_id, dedupe_id=f"{found.payment_id}/{found.status}")
    ctx.conclude("decided")


@handler
async def apply_transaction(found: TransactionFound, ctx: Context) -> str:
    """Do with a listed payment what its event would do, once; answers with the outcome.

    How much of it went back the list does not say: refunds are booked by their own events alone.
    """
    event = PaypalEvent(
        id=f"transaction:{found.payment_id}",
        type=EVENT_OF.get(found.status, SALE_COMPLETED),
        resource={},
        account=found.account,
        subscription_id=found.subscription_id,
        payment_id=found.payment_id,
        state=None if found.status in EVENT_OF else "completed",
        amount=Money(found.amount_minor, found.currency),
        fee=Money(found.fee_minor, found.currency) if found.fee_minor is not None else None,
        changed_at=found.at,
    )
    ctx.tag("subscription", found.subscription_id)
    outcome, custom_id = await apply_sale(event, ctx)
    ctx.conclude(outcome)
    reason = "listed by PayPal's API"
    await record(ctx, event, ctx.event.id, verdict="valid", reason=reason, outcome=outcome, custom_id=custom_id)
    return outcome


def found_form(listed: Transaction, subscription_id: str, account: str | None) -> dict[str, Any]:
    """A listed payment as its message, in JSON values. A fee in another currency is none that could be booked."""
    fee = listed.fee if listed.fee is not None and listed.fee.currency == listed.gross.currency else None
    message = TransactionFound(
        payment_id=listed.payment_id,
        subscription_id=subscription_id,
        account=account,
        status=listed.status,
        amount_minor=listed.gross.amount_minor,
        currency=listed.gross.currency,
        fee_minor=fee.amount_minor if fee is not None else None,
        at=listed.at,
    )
    return message.model_dump(mode="json")
