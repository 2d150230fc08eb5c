"""``hub paypal subscriptions show``: a subscription as the shop's API shows it."""

from __future__ import annotations

from typing import Annotated

import typer

from handlers.paypal.subscription_view import subscription_view
from hub.cli.opening import opened
from hub.cli.output import JsonOption, print_json, print_table, run
from hub.errors import UsageError
from hub.money import Money
from schemas.paypal import SubscriptionView

subscriptions_cli = typer.Typer(no_args_is_help=True, help="Subscriptions as they are known.")


@subscriptions_cli.command("show")
def show(
    subscription: Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="PayPal's id, I-…")],
    as_json: JsonOption = False,
) -> None:
    """Show a subscription: its status, its last payment, and the invoice of that.

    Example: hub paypal subscriptions show I-E8W6NNUG630J
    """

    async def work() -> SubscriptionView | None:
        async with opened(needs_secrets=False) as hub, hub.api.reading() as session:
            return await subscription_view(session, subscription)

    view = run(work)
    if view is None:
        raise UsageError(f"there is no subscription {subscription}")
    if as_json:
        print_json(view)
        return
    payment, invoice = view.last_payment, view.invoice
    amount = Money(payment.amount_minor, payment.currency).format() if payment else None
    lines = [
        ["custom id", view.custom_id],
        ["plan", view.plan_id],
        ["status", view.status],
        ["last payment", f"{payment.payment_id}, {amount}, {payment.state}" if payment else None],
        ["its invoice", f"{invoice.invoice_number}, {invoice.state}" if invoice else None],
        ["issue of the invoice", invoice.issue if invoice else None],
    ]
    print_table(f"Subscription {subscription}", ["", ""], lines)
