"""``hub paypay …``: exchanges, reversals, the sweep, and members whose points the hub keeps."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from handlers.paypay import operating
from handlers.paypay.cli_running import ask, order, read
from handlers.paypay.files_cli import files_cli
from handlers.paypay.operating import Kind
from handlers.paypay.payment_cli import payments_cli
from hub.cli.options import ByOption, LimitOption, NoteOption, actor, as_uuid
from hub.cli.output import JsonOption, print_json, print_table, say
from hub.errors import UsageError
from schemas.paypay_exchange import BookingMade, PersonDecided, PointsGranted, ReversalOrder

DECISIONS: Final = ("succeeded", "failed", "again")

paypay_cli = typer.Typer(no_args_is_help=True, help="Points that become PayPay balance.")
cashback_cli = typer.Typer(no_args_is_help=True, help="Exchanges of points.")
reversals_cli = typer.Typer(no_args_is_help=True, help="Cashback that is taken back.")
members_cli = typer.Typer(no_args_is_help=True, help="Members whose bookings and points the hub itself keeps.")
paypay_cli.add_typer(cashback_cli, name="cashback")
paypay_cli.add_typer(reversals_cli, name="reversals")
paypay_cli.add_typer(members_cli, name="members")
paypay_cli.add_typer(payments_cli, name="payments")
paypay_cli.add_typer(files_cli, name="files")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of the exchange.")]
ReversalArgument = Annotated[str, typer.Argument(metavar="ID", help="The id of the reversal.")]
MemberArgument = Annotated[str, typer.Argument(metavar="MEMBER", help="The shop's id of the member.")]
StatusOption = Annotated[str | None, typer.Option(help="Only those in this state, such as MANUAL.")]
AsOption = Annotated[
    str, typer.Option("--as", help="succeeded or failed, as PayPay's panel shows it; again = send the same id.")
]
YenOption = Annotated[int | None, typer.Option("--amount", min=1, help="Yen; default: all that is left.")]


@cashback_cli.command("list")
def list_exchanges(
    status: StatusOption = None,
    member: Annotated[str | None, typer.Option(help="Only this member's.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List exchanges, newest first."""
    views = ask(lambda api: operating.exchanges(api, status=status, member=member, limit=limit))
    if as_json:
        print_json(list(views))
        return
    columns = ["id", "member", "device", "points", "yen", "state", "PayPay says", "asked"]
    rows = [
        [
            *(view.request_id, view.member_id, view.device_type, f"{view.points:,}", f"{view.amount_jpy:,}"),
            *(view.status, view.result_code or view.paypay_status or "", view.requested_at),
        ]
        for view in views
    ]
    print_table("Exchanges", columns, rows)


@cashback_cli.command("show")
def show_exchange(id: IdArgument, as_json: JsonOption = False) -> None:
    """Show one exchange."""
    view = ask(lambda api: operating.show(api, as_uuid(id, "ID")))
    if as_json:
        print_json(view)
        return
    print_table("Exchange", ["", ""], [[name, value] for name, value in view.model_dump().items()])


@cashback_cli.command("check")
def check_exchange(id: IdArgument) -> None:
    """Have PayPay asked now how an exchange stands; the running hub asks."""
    order(lambda api: operating.check_now(api, "cashback", as_uuid(id, "ID")))
    say("PayPay is being asked; see the result with: hub paypay cashback show")


@cashback_cli.command("settle")
def settle_exchange(id: IdArgument, decision: AsOption, note: NoteOption, by: ByOption = "") -> None:
    """Settle a MANUAL exchange as PayPay's panel shows it, or send the same id once more. Closes its review.

    Example: hub paypay cashback settle 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e11 --as succeeded --note "seen in the panel"
    """
    _decide("cashback", id, decision, note=note, by=by, amount=None)


@cashback_cli.command("reverse")
def reverse_exchange(
    id: IdArgument,
    reason: Annotated[str, typer.Option(help="Why; PayPay shows it, and it is kept on record.")],
    amount: YenOption = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take cashback back, all of it or a part; the points come back in proportion once PayPay has done it."""
    fields = {
        "request_id": as_uuid(id, "ID"),
        "amount_jpy": amount,
        "reason": reason,
        "operator": actor(by),
        "idempotency_key": f"cli-{uuid.uuid4()}",
    }
    reply = order(lambda api: operating.reverse(api, read(ReversalOrder, fields)))
    if as_json:
        print_json(reply)
    else:
        say(f"Reversal {reply.reversal_id} of {reply.amount_jpy:,} yen is on its way")


@cashback_cli.command("retry")
def retry_exchange(id: IdArgument, by: ByOption = "", as_json: JsonOption = False) -> None:
    """Try a FAILED exchange again, under a new id at PayPay; the points are held anew."""
    reply = order(lambda api: operating.retry(api, as_uuid(id, "ID"), by=actor(by)))
    if as_json:
        print_json(reply)
    else:
        say(f"Exchange {reply.request_id} replaces it")


@reversals_cli.command("list")
def list_reversals(status: StatusOption = None, limit: LimitOption = 50, as_json: JsonOption = False) -> None:
    """List reversals, newest first."""
    lines = ask(lambda api: operating.reversals(api, status=status, limit=limit))
    if as_json:
        print_json(list(lines))
        return
    columns = ["id", "exchange", "state", "asked for", "taken", "points back", "operator", "reason", "asked"]
    rows = [
        [
            *(line.reversal_id, line.request_id, line.status, f"{line.requested_jpy:,}", f"{line.reversed_jpy:,}"),
            *(f"{line.returned_points:,}", line.operator, line.reason, line.requested_at),
        ]
        for line in lines
    ]
    print_table("Reversals", columns, rows)


@reversals_cli.command("check")
def check_reversal(id: ReversalArgument) -> None:
    """Have PayPay asked now how a reversal stands; the running hub asks."""
    order(lambda api: operating.check_now(api, "reversal", as_uuid(id, "ID")))
    say("PayPay is being asked; see the result with: hub paypay reversals list")


@reversals_cli.command("settle")
def settle_reversal(
    id: ReversalArgument,
    decision: AsOption,
    note: NoteOption,
    amount: Annotated[int | None, typer.Option(min=1, help="With succeeded: how many yen PayPay took back.")] = None,
    by: ByOption = "",
) -> None:
    """Settle a MANUAL reversal as PayPay's panel shows it, or send the same id once more. Closes its review."""
    _decide("reversal", id, decision, note=note, by=by, amount=amount)


@paypay_cli.command("sweep")
def sweep(
    once: Annotated[bool, typer.Option("--once", help="Run it now, once: for a scheduler outside the hub.")] = False,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Have everything asked about that is not decided and due. The hub's own schedule does the same every 5 minutes."""
    if not once:
        raise UsageError("say --once: the hub's schedule sweep-paypay runs it again and again")
    found = order(lambda api: operating.sweep_once(api, by=actor(by)))
    if as_json:
        print_json({"found": found})
    else:
        say(f"Being asked about: {found}")


@members_cli.command("points")
def show_points(member: MemberArgument, as_json: JsonOption = False) -> None:
    """Show a member's points: what can be used until when, and what exchanges hold."""
    lines = ask(lambda api: operating.points_of(api, member))
    if as_json:
        print_json(list(lines))
        return
    rows = [[line.source, line.last_day or "never", f"{line.usable:,}", f"{line.held:,}"] for line in lines]
    print_table(f"Points of {member}", ["from", "end", "usable", "held"], rows)


@members_cli.command("grant")
def grant_points(
    member: MemberArgument,
    points: Annotated[int, typer.Argument(metavar="POINTS", min=1)],
    source: Annotated[str, typer.Option(help="purchase or promotion.")] = "purchase",
    last_day: Annotated[str | None, typer.Option(help="The last day they can be used, YYYY-MM-DD.")] = None,
    grant_id: Annotated[str | None, typer.Option(help="A name of this gift: given again, it is refused.")] = None,
) -> None:
    """Give a member points, as the shop does by message.

    Example: hub paypay members grant member-1 800 --source promotion --last-day 2027-03-31
    """
    fields = {
        "grant_id": grant_id or f"cli-{uuid.uuid4()}",
        "member_id": member,
        "points": points,
        "source": source,
        "last_day": last_day,
    }
    balance = order(lambda api: operating.grant(api, read(PointsGranted, fields)))
    say(f"Member {member} has {balance:,} such points")


@members_cli.command("book")
def book(
    member: MemberArgument,
    booking_id: Annotated[str | None, typer.Option(help="The shop's id of the booking.")] = None,
    booked_at: Annotated[str | None, typer.Option(help="When, with its time zone; default: now.")] = None,
) -> None:
    """Remember a booking of a member, as the shop tells by message."""
    fields = {
        "booking_id": booking_id or f"cli-{uuid.uuid4()}",
        "member_id": member,
        "booked_at": booked_at or datetime.now(UTC),
    }
    order(lambda api: operating.book(api, read(BookingMade, fields)))
    say(f"Member {member} has booked")


def _decide(kind: Kind, id: str, decision: str, *, note: str, by: str, amount: int | None) -> None:
    if decision not in DECISIONS:
        raise UsageError(f"--as: expected one of {', '.join(DECISIONS)}, found {decision!r}")
    fields = {
        "request_id": as_uuid(id, "ID"),
        "kind": kind,
        "decision": decision,
        "amount_jpy": amount,
        "by": actor(by),
        "note": note,
    }
    status = order(lambda api: operating.decide(api, read(PersonDecided, fields)))
    say(f"It is {status} now")
