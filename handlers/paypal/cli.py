"""``hub paypal …``: what became of PayPal's events."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import inspect

from handlers.paypal import payments_cli, record_table
from handlers.paypal.invoices_cli import invoices_cli
from handlers.paypal.record_words import amount_of
from handlers.paypal.subscriptions_cli import subscriptions_cli
from handlers.paypal.tables import PaypalEventRecord
from hub.cli.opening import opened
from hub.cli.options import LimitOption
from hub.cli.output import JsonOption, print_json, print_table, run
from schemas.paypal import EventRecorded

paypal_cli = typer.Typer(no_args_is_help=True, help="Subscriptions that PayPal bills.")
records_cli = typer.Typer(no_args_is_help=True, help="The record of every event.")
paypal_cli.add_typer(records_cli, name="records")
paypal_cli.add_typer(invoices_cli, name="invoices")
paypal_cli.add_typer(subscriptions_cli, name="subscriptions")
paypal_cli.command("pending")(payments_cli.pending)
paypal_cli.command("held")(payments_cli.held)
paypal_cli.command("fee")(payments_cli.fee)
paypal_cli.command("release")(payments_cli.release)
paypal_cli.command("book-refund")(payments_cli.book_refund)


@records_cli.command("list")
def list_records(
    *,
    type_: Annotated[str | None, typer.Option("--type", help="Only this type of event.")] = None,
    verdict: Annotated[str | None, typer.Option(help="valid, invalid, undecided or simulated.")] = None,
    subscription: Annotated[str | None, typer.Option(help="Only of this subscription.")] = None,
    event: Annotated[str | None, typer.Option(help="Only PayPal's event of this id.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List what was recorded, newest first.

    Example: hub paypal records list --verdict invalid
    """

    async def work() -> list[PaypalEventRecord]:
        async with opened(needs_secrets=False) as hub:
            found = await record_table.list_records(
                hub.api, type_=type_, verdict=verdict, subscription_id=subscription, event_id=event, limit=limit
            )
            return list(found)

    records = [_message(row) for row in run(work)]
    if as_json:
        print_json([one.model_dump(mode="json") for one in records])
        return
    print_table(
        "Events of PayPal",
        ["received", "type", "amount", "subscription", "custom id", "verdict", "outcome", "reason"],
        [
            [
                one.received_at,
                one.event_type,
                amount_of(one),
                one.subscription_id,
                one.custom_id,
                one.verdict,
                one.outcome,
                one.reason,
            ]
            for one in records
        ],
        empty="nothing was recorded",
    )


def _message(row: PaypalEventRecord) -> EventRecorded:
    columns = inspect(PaypalEventRecord).columns.keys()
    return EventRecorded.model_validate({name: getattr(row, name) for name in columns})
