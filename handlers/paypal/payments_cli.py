"""``hub paypal pending``, ``held`` and ``release``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from handlers.paypal import payment_reports
from handlers.paypal.refunds import ORDER_TYPE
from handlers.paypal.settings import fee_estimate
from handlers.paypal.tables import PaypalPayment
from hub.cli.opening import opened
from hub.cli.options import ByOption, LimitOption, NoteOption, actor
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.errors import UsageError
from hub.money import Money, MoneyError
from schemas.paypal import PaymentRelease, RefundOrder


def pending(
    days: Annotated[int, typer.Option(min=0, max=3_650, help="Only those that are at least so old.")] = 3,
    *,
    ask: Annotated[bool, typer.Option("--ask", help="Ask PayPal about each, and show what it says now.")] = False,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> None:
    """List payments that PayPal has not decided, oldest first, with PayPal's reason.

    Example: hub paypal pending --ask
    """

    async def work() -> list[tuple[PaypalPayment, str]]:
        async with opened(needs_secrets=ask) as hub:
            since = datetime.now(UTC) - timedelta(days=days)
            rows = await payment_reports.list_pending(hub.api, since=since, limit=limit)
            return [(row, await payment_reports.said_of(hub.api, row) if ask else "") for row in rows]

    found = run(work)
    rows = [(row, row.created_at) for row, _ in found]
    said = [said for _, said in found] if ask else None
    _print("Payments that PayPal has not decided", rows, as_json, empty="none is pending that long", said=said)


def fee(
    amount: Annotated[str, typer.Argument(help="As PayPal writes it, such as 20.00.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217, such as USD.")],
    as_json: JsonOption = False,
) -> None:
    """Estimate PayPal's fee by its price list for payments from abroad. What is booked is what PayPal really keeps.

    Example: hub paypal fee 20.00 USD
    """
    try:
        gross = Money.parse(amount, currency.upper())
    except MoneyError as error:
        raise UsageError(str(error)) from error

    async def work() -> Money | None:
        async with opened(needs_secrets=False) as hub:
            return fee_estimate(gross, hub.api.settings_of("paypal"))

    found = run(work)
    if found is None:
        raise UsageError(f"the price list has no fixed part for {gross.currency}: HUB_PAYPAL_FEE_FIXED")
    if as_json:
        print_json(
            {"fee_minor": found.amount_minor, "net_minor": (gross - found).amount_minor, "currency": found.currency}
        )
        return
    say(f"about {found.format()}, which leaves {(gross - found).format()}")


def held(limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List payments whose money PayPal keeps back, oldest first; usually it is free after at most 21 days."""

    async def work() -> list[tuple[PaypalPayment, datetime]]:
        async with opened(needs_secrets=False) as hub:
            return list(await payment_reports.list_held(hub.api, limit=limit))

    _print("Payments that PayPal holds", run(work), as_json, empty="nothing is held")


def release(
    payment: Annotated[str, typer.Argument(metavar="PAYMENT", help="PayPal's id of the payment.")],
    note: NoteOption,
    by: ByOption = "",
) -> None:
    """Book that PayPal has let a held payment go: it sends no event for it.

    Example: hub paypal release 6GR1339578830245H --note "free in the account since today"
    """
    if not note.strip():
        raise UsageError("--note: expected why, found nothing")

    async def work() -> Money:
        async with opened() as hub:
            order = PaymentRelease(payment_id=payment, by=actor(by), note=note)
            freed = await hub.api.command(payment_reports.RELEASE_TYPE, order, key=payment)
            assert isinstance(freed, Money)
            return freed

    say(f"{run(work).format()} of payment {payment} are ours to have")


def book_refund(
    payment: Annotated[str, typer.Argument(metavar="PAYMENT", help="PayPal's id of the payment.")],
    amount: Annotated[str, typer.Argument(help="What went back, as PayPal writes it, such as 5.00.")],
    currency: Annotated[str, typer.Argument(help="ISO 4217, such as USD.")],
    refund: Annotated[str, typer.Option("--refund", help="PayPal's id of the refund or reversal.")],
    note: NoteOption,
    *,
    reversal: Annotated[bool, typer.Option("--reversal", help="PayPal took it back by itself.")] = False,
    by: ByOption = "",
) -> None:
    """Book what went back at PayPal where no event tells it, or not of which payment. Nothing is asked of PayPal.

    Example: hub paypal book-refund 6GR1339578830245H 5.00 USD --refund 77689802DL785834G --note "seen at PayPal"
    """
    if not note.strip():
        raise UsageError("--note: expected why, found nothing")
    try:
        money = Money.parse(amount, currency.upper())
    except MoneyError as error:
        raise UsageError(str(error)) from error

    async def work() -> object:
        async with opened() as hub:
            order = RefundOrder(
                payment_id=payment,
                refund_id=refund,
                amount_minor=money.amount_minor,
                currency=money.currency,
                is_reversal=reversal,
                by=actor(by),
                note=note,
            )
            return await hub.api.command(ORDER_TYPE, order, key=payment)

    say(f"{money.format()} of payment {payment}: {run(work)}")


def _print(
    title: str,
    rows: list[tuple[PaypalPayment, datetime]],
    as_json: bool,
    *,
    empty: str,
    said: list[str] | None = None,
) -> None:
    words = said if said is not None else [""] * len(rows)
    if as_json:
        print_json(
            [
                {
                    "payment_id": row.payment_id,
                    "subscription_id": row.subscription_id,
                    "custom_id": row.custom_id,
                    "amount_minor": row.amount_minor,
                    "currency": row.currency,
                    "reason_code": row.reason_code,
                    "since": since,
                    **({"at_paypal": word} if said is not None else {}),
                }
                for (row, since), word in zip(rows, words, strict=True)
            ]
        )
        return
    print_table(
        title,
        [
            "since",
            "payment",
            "amount",
            "subscription",
            "custom id",
            "reason",
            *(["at PayPal"] if said is not None else []),
        ],
        [
            [
                since,
                row.payment_id,
                Money(row.amount_minor, row.currency).format(),
                row.subscription_id,
                row.custom_id,
                row.reason_code,
                *([word] if said is not None else []),
            ]
            for (row, since), word in zip(rows, words, strict=True)
        ],
        empty=empty,
    )
