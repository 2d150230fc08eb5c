"""``hub paypal invoices …``: how far each invoice has come, and what a person decides where one stands still."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import inspect

from handlers.paypal import invoice_desk
from handlers.paypal.invoice_body import Facts, body_of, invoice_number
from handlers.paypal.invoice_template import InvoiceTemplate
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables_invoices import PaypalInvoice
from hub.cli.opening import opened
from hub.cli.options import ByOption, LimitOption, NoteOption, actor
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.environment import Environment, as_started
from hub.errors import UsageError
from hub.money import Money
from hub.settings import read_settings

invoices_cli = typer.Typer(no_args_is_help=True, help="The invoices of payments.")

STATES = ("none", "drafted", "sent", "paid", "waived")
PaymentArgument = Annotated[str, typer.Argument(metavar="PAYMENT", help="PayPal's id of the payment.")]


@invoices_cli.command("list")
def list_invoices(
    *,
    state: Annotated[str | None, typer.Option(help=f"Only those that are {', '.join(STATES)}.")] = None,
    subscription: Annotated[str | None, typer.Option(help="Only of this subscription.")] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only those that PayPal refuses: they wait for you.")] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List invoices, newest first.

    Example: hub paypal invoices list --stuck
    """
    if state is not None and state not in STATES:
        raise UsageError(f"--state: expected one of {', '.join(STATES)}")

    async def work() -> list[PaypalInvoice]:
        async with opened(needs_secrets=False) as hub:
            found = await invoice_desk.list_invoices(
                hub.api, state=state, subscription=subscription, stuck=stuck, limit=limit
            )
            return list(found)

    rows = run(work)
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    print_table(
        "Invoices",
        ["since", "payment", "number", "amount", "state", "at PayPal", "issue"],
        [
            [
                *(row.created_at, row.payment_id, row.invoice_number),
                *(Money(row.amount_minor, row.currency).format(), row.state, row.invoice_id, row.issue),
            ]
            for row in rows
        ],
        empty="there is none",
    )


@invoices_cli.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="PAYMENT|NUMBER", help="PayPal's id of the payment, or S-….")],
    as_json: JsonOption = False,
) -> None:
    """Show one invoice, who last decided about it and why, and whether the hub could not run a step of it."""

    async def work() -> tuple[PaypalInvoice | None, list[int]]:
        async with opened(needs_secrets=False) as hub:
            found = await invoice_desk.find_invoice(hub.api, name)
            stuck = await invoice_desk.parked_steps(hub.api, found.payment_id) if found is not None else []
            return found, list(stuck)

    row, parked = run(work)
    if row is None:
        raise UsageError(f"there is no invoice of payment, or with number, {name}")
    fields = {**_plain(row), "parked_deliveries": parked}
    if as_json:
        print_json(fields)
        return
    fields["parked_deliveries"] = ", ".join(map(str, parked)) or None
    print_table("Invoice", ["", ""], [[label.replace("_", " "), value] for label, value in fields.items()])


@invoices_cli.command("retry")
def retry(payment: PaymentArgument, note: NoteOption, by: ByOption = "") -> None:
    """Let an invoice go on that stands still, once its cause is mended; PayPal is asked first what it has of it.

    Example: hub paypal invoices retry 6GR1339578830245H --note "the seller's address is confirmed"
    """
    _expect(note)

    async def work() -> str:
        async with opened() as hub:
            return await invoice_desk.retry(hub.api, payment, by=actor(by), note=note)

    say(f"The invoice of payment {payment} goes on: {run(work)}")


@invoices_cli.command("waive")
def waive(payment: PaymentArgument, note: NoteOption, by: ByOption = "") -> None:
    """Say that no invoice shall come of a payment, or that it was made by hand. PayPal is not told.

    Example: hub paypal invoices waive 6GR1339578830245H --note "made by hand, number 2026-117"
    """
    _expect(note)

    async def work() -> None:
        async with opened() as hub:
            await invoice_desk.waive(hub.api, payment, by=actor(by), note=note)

    run(work)
    say(f"No invoice comes of payment {payment}")


@invoices_cli.command("preview")
def preview(
    template: Annotated[
        Path | None, typer.Option(help="The file; default: that of HUB_PAYPAL_INVOICE_TEMPLATE.")
    ] = None,
) -> None:
    """Print the invoice of a made-up payment as PayPal would get it; mistakes in the file are told with their places.

    Example: hub paypal invoices preview --template invoice.yaml
    """

    async def work() -> dict[str, object]:
        settings = read_settings(PaypalSettings, Environment(as_started(os.environ)))
        texts = await asyncio.to_thread(InvoiceTemplate.load, template) if template else settings.invoice_texts
        number, made_up = invoice_number("6GR1339578830245H"), Facts("P-1", "Gold", "All of it", *_BUYER)
        row = PaypalInvoice(
            payment_id="6GR1339578830245H",
            invoice_number=number,
            subscription_id="I-E8W6NNUG630J",
            custom_id="user-0042",
            amount_minor=500,
            currency="USD",
            dated="2026-01-31",
        )
        seller, brand = settings.invoicer_email, settings.brand_name
        return body_of(row, made_up, texts, seller=seller, brand=brand, locale=settings.locale)

    print_json(run(work))


_BUYER = ("ann@example.com", "Ann", "Example")


def _expect(note: str) -> None:
    if not note.strip():
        raise UsageError("--note: expected why, found nothing")


def _plain(row: PaypalInvoice) -> dict[str, object]:
    left_out = ("review_event_id",)
    columns = [column.key for column in inspect(PaypalInvoice).columns]
    return {name: getattr(row, name) for name in columns if name not in left_out}
