"""``hub sepay unmatched settle|assign|refund-note`` and ``hub sepay wallet refund|withdraw``: what a person decides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import typer

from handlers.sepay import deciding
from handlers.sepay.bank_values import bank_time
from handlers.sepay.reviews import WHICH_WAIT
from hub.api import HubApi
from hub.cli.opening import opened
from hub.cli.options import ByOption, actor, as_uuid
from hub.cli.output import JsonOption, print_json, run, say
from hub.errors import UsageError
from schemas.sepay import TRANSFER_ID_MAX
from schemas.sepay_desk import TransferSettled, WalletAdjusted


def transfer_number(text: str) -> int:
    """SePay's number of a transfer. Raises BadParameter, which says where to copy one from."""
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(TRANSFER_ID_MAX))
    if not is_number or int(text) > TRANSFER_ID_MAX:
        raise typer.BadParameter(f"{text!r} is not the number of a transfer; {WHICH_WAIT}")
    return int(text)


TransferArgument = Annotated[
    int,
    typer.Argument(
        metavar="TRANSFER", parser=transfer_number, help="SePay's number of the transfer: see hub sepay unmatched list."
    ),
]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]
AmountArgument = Annotated[int, typer.Argument(metavar="AMOUNT", min=1, help="Whole dong.")]
WhyOption = Annotated[str, typer.Option("--note", help="Why; kept on record, and on the entry.")]
OrderOption = Annotated[str | None, typer.Option("--order", help="The order that this is about.")]
RequestOption = Annotated[
    str | None, typer.Option("--request-id", help="A name of this order: given again, it is refused.")
]


def assign(  # noqa: PLR0917 - the options of a command
    transfer: TransferArgument,
    note: WhyOption,
    intent: Annotated[str | None, typer.Option(help="The intent that it pays: its id or its order code.")] = None,
    user: Annotated[str | None, typer.Option(help="The user into whose wallet it goes.")] = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Move money from suspense to what it was for: --intent or --user. Closes the transfer's review.

    Example: hub sepay unmatched assign 4711 --user 42 --note "called, sent a receipt"
    """

    async def work() -> int:
        async with opened() as hub:
            return await deciding.assign(hub.api, transfer, intent=intent, user_id=user, by=actor(by), note=note)

    closed = run(work)
    if as_json:
        print_json({"sepay_tx_id": transfer, "resolution": "assigned", "reviews_closed": closed})
    else:
        say(f"Transfer {transfer} is assigned; reviews closed: {closed}")


def settle(  # noqa: PLR0917 - the options of a command
    transfer: TransferArgument,
    note: WhyOption,
    to: Annotated[str | None, typer.Option(help="Our account that it came to; default: the one that it names.")] = None,
    amount: Annotated[int | None, typer.Option(min=1, help="Whole dong, where the amount could not be read.")] = None,
    booked_at: Annotated[
        str | None, typer.Option(help="Vietnamese time, YYYY-MM-DD HH:MM:SS, where the date could not be read.")
    ] = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Book a transfer that is in no account yet: one to an unknown account, or one that could not be read.

    It is then matched like any other: credited, or put into suspense to be assigned.

    Example: hub sepay unmatched settle 4711 --to 8880000001 --note "account was missing in SEPAY_ACCOUNTS"
    """

    async def work() -> TransferSettled:
        order = deciding.settlement(
            transfer, to=to, amount=amount, booked_at=bank_time_option(booked_at), by=actor(by), note=note
        )
        async with opened() as hub:
            return await deciding.settle(hub.api, order)

    done = run(work)
    if as_json:
        print_json(done)
    else:
        say(f"Transfer {transfer} of {done.amount:,} VND to {done.account_number} is booked: {done.outcome}")


def bank_time_option(text: str | None) -> datetime | None:
    """An instant of ``--booked-at``. Raises UsageError."""
    try:
        return None if text is None else bank_time(text)
    except ValueError as error:
        raise UsageError(f"--booked-at: {error}") from error


def refund_note(transfer: TransferArgument, note: WhyOption, by: ByOption = "", as_json: JsonOption = False) -> None:
    """Book that money in suspense was sent back at the bank. The hub itself sends nothing. Closes the review.

    Example: hub sepay unmatched refund-note 4711 --note "sent back on 21 November"
    """

    async def work() -> int:
        async with opened() as hub:
            return await deciding.note_refund(hub.api, transfer, by=actor(by), note=note)

    closed = run(work)
    if as_json:
        print_json({"sepay_tx_id": transfer, "resolution": "refunded", "reviews_closed": closed})
    else:
        say(f"Transfer {transfer} is booked as sent back; reviews closed: {closed}")


def refund(  # noqa: PLR0917 - the options of a command
    user: UserArgument,
    amount: AmountArgument,
    note: WhyOption,
    order: OrderOption = None,
    request_id: RequestOption = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give money back into a wallet, out of sales.

    Example: hub sepay wallet refund 42 200000 --note "bot was down"
    """
    order_id = as_uuid(order, "--order") if order else None
    given = deciding.adjustment(user, amount, by=actor(by), note=note, order_id=order_id)
    _adjust(lambda api: deciding.refund(api, given, request_id=request_id), as_json)


def withdraw(  # noqa: PLR0917 - the options of a command
    user: UserArgument,
    amount: AmountArgument,
    note: WhyOption,
    request_id: RequestOption = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Book that money of a wallet was paid out at the bank. The hub itself sends nothing.

    Example: hub sepay wallet withdraw 42 50000 --note "paid out on 21 November"
    """
    taken = deciding.adjustment(user, amount, by=actor(by), note=note)
    _adjust(lambda api: deciding.withdraw(api, taken, request_id=request_id), as_json)


def _adjust(order: Callable[[HubApi], Awaitable[WalletAdjusted]], as_json: bool) -> None:
    async def work() -> WalletAdjusted:
        async with opened() as hub:
            return await order(hub.api)

    done = run(work)
    if as_json:
        print_json(done)
    else:
        say(f"{done.kind} of {done.amount:,} VND; the wallet of user {done.user_id} holds {done.balance_after:,} VND")
