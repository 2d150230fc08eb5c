"""``hub sandbox paypal …``: buyers, PayPal's own decisions, and everything that goes wrong on the way.

The commands change the played PayPal's book and deliver the webhooks themselves; the running hub reads the same book.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal import sandbox_invoices as invoices
from handlers.paypal.sandbox import postman_of
from handlers.paypal.sandbox_api import API_FAULTS
from handlers.paypal.sandbox_book import Book, BookKeeper, Row
from handlers.paypal.sandbox_webhooks import MISDELIVERIES
from handlers.paypal.settings import PaypalSettings
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.environment import Environment, as_started
from hub.errors import UnreadableError, UsageError
from hub.jsonbody import parse_json
from hub.settings import read_settings

sandbox_cli = typer.Typer(no_args_is_help=True, help="Play PayPal and its buyers.")

PLACES = (
    *("token", "plans", "subscribe", "subscription", "transactions", "verify-webhook", "webhook", "events"),
    *("draft", "search-invoices", "invoice", "update-invoice", "send-invoice", "record-payment", "record-refund", "*"),
)
SubscriptionArgument = Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="PayPal's id, I-…")]
FaultOption = Annotated[
    str | None, typer.Option("--fault", help=f"Deliver the webhook badly: {', '.join(MISDELIVERIES)}.")
]
UrlOption = Annotated[str | None, typer.Option("--url", help="Where the hub is; default: here.")]


@sandbox_cli.command("approve")
def approve(
    subscription: SubscriptionArgument,
    *,
    out_of_order: Annotated[bool, typer.Option("--out-of-order", help="The payment is told first.")] = False,
    held: Annotated[bool, typer.Option("--held", help="PayPal holds the money back.")] = False,
    fault: FaultOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """The buyer agrees: the subscription is active and paid, and the hub is told of both.

    Example: hub sandbox paypal approve I-SANDBOX00001
    """

    def work(book: Book, now: datetime) -> list[Row]:
        told = [
            deeds.change_status(book, subscription, "ACTIVE", now),
            deeds.pay(book, subscription, now, is_held=held),
        ]
        return told[::-1] if out_of_order else told

    _tell(work, fault, url, as_json)


@sandbox_cli.command("pay")
def pay(
    subscription: SubscriptionArgument,
    *,
    state: Annotated[str, typer.Option(help="completed, pending or denied.")] = "completed",
    held: Annotated[bool, typer.Option("--held", help="PayPal holds the money back.")] = False,
    twice: Annotated[bool, typer.Option("--twice", help="Announce the same payment under two event ids.")] = False,
    fault: FaultOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """The next payment of a subscription."""
    if state not in ("completed", "pending", "denied"):
        raise typer.BadParameter("--state: expected completed, pending or denied")

    def work(book: Book, now: datetime) -> list[Row]:
        told = [deeds.pay(book, subscription, now, state=state, is_held=held)]
        return [*told, deeds.tell_sale(book, book.sales[told[0]["resource"]["id"]], now)] if twice else told

    _tell(work, fault, url, as_json)


@sandbox_cli.command("refund")
def refund(
    sale: Annotated[str, typer.Argument(metavar="SALE", help="PayPal's id of the payment.")],
    *,
    amount: Annotated[str | None, typer.Option(help="As PayPal writes it, such as 5.00; default: all of it.")] = None,
    fault: FaultOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give money back to the buyer."""
    _tell(lambda book, now: [deeds.refund(book, sale, now, value=amount)], fault, url, as_json)


@sandbox_cli.command("pay-invoice")
def pay_invoice(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Of an invoice that was sent, S-….")],
    *,
    fault: FaultOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """The buyer pays an invoice at PayPal, as one may who gets it before it is marked as paid."""

    def work(book: Book, now: datetime) -> list[Row]:
        row = next((one for one in book.invoices.values() if one["detail"]["invoice_number"] == number), None)
        if row is None:
            raise UsageError(f"the sandbox has no invoice {number}")
        try:
            invoices.record_payment(book, row, {"method": "PAYPAL"}, kind="PAYPAL")
        except invoices.InvoiceRefusedError as refused:
            raise UsageError(f"PayPal refuses: {refused.issue}") from refused
        return [invoices.tell(book, row, "INVOICING.INVOICE.PAID", now)]

    _tell(work, fault, url, as_json)


@sandbox_cli.command("reverse")
def reverse(
    sale: Annotated[str, typer.Argument(metavar="SALE", help="PayPal's id of the payment.")],
    *,
    fault: FaultOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """PayPal takes the money of a payment back, and does not say of which."""
    _tell(lambda book, now: [deeds.reverse(book, sale, now)], fault, url, as_json)


@sandbox_cli.command("status")
def status(
    subscription: SubscriptionArgument,
    new: Annotated[str, typer.Argument(metavar="STATUS", help=f"One of {', '.join(deeds.STATUS_EVENTS)}.")],
    *,
    fault: FaultOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Suspend, cancel, expire or activate a subscription."""
    if new not in deeds.STATUS_EVENTS:
        raise typer.BadParameter(f"expected one of {', '.join(deeds.STATUS_EVENTS)}")
    _tell(lambda book, now: [deeds.change_status(book, subscription, new, now)], fault, url, as_json)


@sandbox_cli.command("send")
def send(
    file: Annotated[Path, typer.Argument(help="A JSON file with the body of an event.")],
    *,
    fault: FaultOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign any event and deliver it."""
    try:
        body = parse_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except UnreadableError as error:
        raise UsageError(f"{file}: {error}") from error
    _tell(lambda book, now: [body], fault, url, as_json)


@sandbox_cli.command("resend")
def resend(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="PayPal's id of the event, WH-…")],
    *,
    fault: FaultOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deliver an event again, as the dashboard's button does."""

    def work(book: Book, now: datetime) -> list[Row]:
        if event not in book.events:
            raise UsageError(f"the sandbox has told no event {event}")
        return [book.events[event]]

    _tell(work, fault, url, as_json)


@sandbox_cli.command("misbehave")
def misbehave(
    place: Annotated[str, typer.Argument(help=f"Where: {', '.join(PLACES)}.")],
    kind: Annotated[str, typer.Argument(help=f"How: {', '.join(API_FAULTS)}; webhooks: {', '.join(MISDELIVERIES)}.")],
    times: Annotated[int, typer.Option(min=0, max=100_000, help="How often; 0 = no longer.")] = 1,
) -> None:
    """Have the played PayPal fail the next requests.

    Example: hub sandbox paypal misbehave subscribe cut_after
    """
    kinds: Sequence[str] = MISDELIVERIES if place == "webhook" else API_FAULTS
    if place not in PLACES or kind not in kinds:
        raise typer.BadParameter(f"expected one of {', '.join(PLACES)} and one of {', '.join(kinds)}")
    with _keeper(_settings()).opened() as book:
        book.faults = [one for one in book.faults if (one["place"], one["kind"]) != (place, kind)]
        if times:
            book.faults.append({"place": place, "kind": kind, "times": times})


@sandbox_cli.command("show")
def show(as_json: JsonOption = False) -> None:
    """Show what the played PayPal knows: subscriptions, payments and invoices."""
    with _keeper(_settings()).opened() as book:
        subscriptions, sales = list(book.subscriptions.values()), list(book.sales.values())
        made = list(book.invoices.values())
    if as_json:
        print_json({"subscriptions": subscriptions, "sales": sales, "invoices": made})
        return
    print_table(
        "Subscriptions",
        ["subscription", "status", "plan", "custom id"],
        [[one["id"], one["status"], one["plan_id"], one.get("custom_id")] for one in subscriptions],
        empty="no subscriptions",
    )
    print_table(
        "Payments",
        ["payment", "state", "amount", "subscription"],
        [
            [one["id"], one["state"], " ".join(list(one["amount"].values())[:2]), one["billing_agreement_id"]]
            for one in sales
        ],
        empty="no payments",
    )
    print_table(
        "Invoices",
        ["invoice", "number", "status", "amount", "mails"],
        [
            [
                *(one["id"], one["detail"]["invoice_number"], one["status"]),
                *(" ".join(reversed(list(one["amount"].values()))), one["mails"]),
            ]
            for one in made
        ],
        empty="no invoices",
    )


def _tell(work: Callable[[Book, datetime], list[Row]], fault: str | None, url: str | None, as_json: bool) -> None:
    if fault is not None and fault not in MISDELIVERIES:
        raise typer.BadParameter(f"--fault: expected one of {', '.join(MISDELIVERIES)}")
    settings = _settings()

    async def deliver() -> list[tuple[Row, list[int]]]:
        with _keeper(settings).opened() as book:
            told = work(book, datetime.now(UTC))
        postman = postman_of(settings, url or "")
        return [(body, await postman.deliver(body, fault)) for body in told]

    answers = run(deliver)
    if as_json:
        lines: list[dict[str, Any]] = [
            {"event_id": body.get("id"), "event_type": body.get("event_type"), "answers": statuses}
            for body, statuses in answers
        ]
        print_json(lines)
    else:
        for body, statuses in answers:
            said = ", ".join(str(status) for status in statuses) or "nothing: it was lost, or comes late"
            say(f"{body.get('event_type')} {body.get('id')}: the hub answered {said}")
    if fault is None and not all(200 <= statuses[-1] < 300 for _, statuses in answers):
        raise typer.Exit(EXIT_PROBLEM)


def _settings() -> PaypalSettings:
    settings = read_settings(PaypalSettings, Environment(as_started(os.environ)))
    if not settings.is_played:
        raise UsageError("the hub plays PayPal only under HUB_SANDBOX=1, in PayPal's sandbox environment")
    return settings


def _keeper(settings: PaypalSettings) -> BookKeeper:
    return BookKeeper(settings.sandbox_dir)
