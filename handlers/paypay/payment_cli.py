"""``hub paypay payments …``: what an operator sees and does of payments."""

from __future__ import annotations

import uuid
from typing import Annotated, Final

import typer

from handlers.paypay import payment_desk
from handlers.paypay.cli_running import ask, order, read
from hub.cli.options import ByOption, LimitOption, NoteOption, actor, as_uuid
from hub.cli.output import JsonOption, print_json, print_table, say
from hub.errors import UsageError
from schemas.paypay import CancelOrder, PaymentDecided, RefundOrder

DECISIONS: Final = ("completed", "failed", "refunded")

payments_cli = typer.Typer(no_args_is_help=True, help="Payments by PayPay.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of the payment.")]
StatusOption = Annotated[str | None, typer.Option(help="Only those in this state, such as MANUAL.")]
AsOption = Annotated[
    str,
    typer.Option(
        "--as",
        help="As PayPay's panel shows it: completed = paid, and kept; failed = not paid, or undone there; "
        "refunded = given back there.",
    ),
]
YenOption = Annotated[int | None, typer.Option("--amount", min=1, help="Yen; default: all of it.")]


@payments_cli.command("list")
def list_payments(
    status: StatusOption = None,
    member: Annotated[str | None, typer.Option(help="Only this member's.")] = None,
    troubled: Annotated[bool, typer.Option("--troubled", help="Only those that a person was asked about.")] = False,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List payments, newest first."""
    views = ask(
        lambda api: payment_desk.payments(api, status=status, member=member, is_in_trouble=troubled, limit=limit)
    )
    if as_json:
        print_json(list(views))
        return
    columns = ["id", "kind", "member", "yen", "taken", "back", "books", "state", "PayPay says", "for a person", "asked"]
    rows = [
        [
            *(view.payment_id, view.kind, view.member_id or "", f"{view.amount_jpy:,}"),
            *(_yen(view.captured_jpy), _yen(view.refunded_jpy), view.booked_as or "", view.status),
            *(view.result_code or "", ", ".join(view.troubles), view.requested_at),
        ]
        for view in views
    ]
    print_table("Payments", columns, rows)


@payments_cli.command("show")
def show_payment(id: IdArgument, as_json: JsonOption = False) -> None:
    """Show one payment with its refunds."""
    view = ask(lambda api: payment_desk.show(api, as_uuid(id, "ID")))
    if as_json:
        print_json(view)
        return
    fields = view.model_dump(exclude={"refunds", "troubles"})
    print_table("Payment", ["", ""], [*fields.items(), ("troubles", ", ".join(view.troubles))])
    if view.refunds:
        columns = ["refund", "yen", "state", "PayPay says", "reason", "asked", "done"]
        rows = [
            [
                *(one.refund_id, f"{one.amount_jpy:,}", one.status, one.result_code or ""),
                *(one.reason, one.requested_at, one.refunded_at or ""),
            ]
            for one in view.refunds
        ]
        print_table("Refunds", columns, rows)


@payments_cli.command("look")
def look_at_payment(id: IdArgument) -> None:
    """Have PayPay asked now how a payment stands; the running hub asks."""
    order(lambda api: payment_desk.look(api, as_uuid(id, "ID")))
    say("PayPay is being asked; see the result with: hub paypay payments show")


@payments_cli.command("settle")
def settle_payment(
    id: IdArgument, decision: AsOption, note: NoteOption, amount: YenOption = None, by: ByOption = ""
) -> None:
    """Settle a payment that a person was asked about, as PayPay's panel shows it. Closes its reviews.

    Example: hub paypay payments settle 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e11 --as completed --note "seen in the panel"
    """
    if decision not in DECISIONS:
        raise UsageError(f"--as: expected one of {', '.join(DECISIONS)}, found {decision!r}")
    fields = {
        "payment_id": as_uuid(id, "ID"),
        "decision": decision,
        "amount_jpy": amount,
        "by": actor(by),
        "note": note,
    }
    status = order(lambda api: payment_desk.settle(api, read(PaymentDecided, fields)))
    say(f"It is {status} now")


@payments_cli.command("cancel")
def cancel_payment(id: IdArgument, note: NoteOption, by: ByOption = "") -> None:
    """Undo a payment, also one whose money came after its end: cancelled in PayPay's time, refunded after it."""
    fields = {"payment_id": as_uuid(id, "ID"), "operator": actor(by), "note": note}
    reply = order(lambda api: payment_desk.cancel(api, read(CancelOrder, fields)))
    say(f"It is {reply.status} now")


@payments_cli.command("refund")
def refund_payment(
    id: IdArgument,
    reason: Annotated[str, typer.Option(help="Why; PayPay shows it, and it is kept on record.")],
    amount: YenOption = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give money back, all that is left unless an amount is said."""
    fields = {
        "payment_id": as_uuid(id, "ID"),
        "amount_jpy": amount,
        "reason": reason,
        "operator": actor(by),
        "idempotency_key": f"cli-{uuid.uuid4()}",
    }
    reply = order(lambda api: payment_desk.refund(api, read(RefundOrder, fields)))
    if as_json:
        print_json(reply)
    else:
        say(f"Refund {reply.refund_id} of {reply.amount_jpy:,} yen is on its way")


def _yen(amount_jpy: int | None) -> str:
    return "" if amount_jpy is None else f"{amount_jpy:,}"
