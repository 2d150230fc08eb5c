"""``hub sepay …`` and ``hub sandbox sepay …``: wallets, money in suspense, and a bank to try things with."""

from __future__ import annotations

from typing import Annotated

import typer

from handlers.sepay import bank_cli, desk_cli, operating
from handlers.sepay.operating import PaymentOrder, SuspenseLine
from handlers.sepay.sandbox import BANK_STYLES, Answer, Payment
from handlers.sepay.shop_cli import licenses_cli, orders_cli, symbols_cli
from handlers.sepay.views import WalletLine
from hub.cli.opening import opened
from hub.cli.options import ByOption, LimitOption, ReasonOption, actor
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from schemas.sepay import WalletReply

sepay_cli = typer.Typer(no_args_is_help=True, help="Wallets that bank transfers fill.")
wallet_cli = typer.Typer(no_args_is_help=True, help="Wallets and their movements.")
unmatched_cli = typer.Typer(no_args_is_help=True, help="Transfers that wait for a person.")
sandbox_cli = typer.Typer(no_args_is_help=True, help="Play SePay and the bank behind it.")
sepay_cli.command("poll")(bank_cli.poll)
sepay_cli.add_typer(wallet_cli, name="wallet")
wallet_cli.command("refund")(desk_cli.refund)
wallet_cli.command("withdraw")(desk_cli.withdraw)
unmatched_cli.command("settle")(desk_cli.settle)
unmatched_cli.command("assign")(desk_cli.assign)
unmatched_cli.command("refund-note")(desk_cli.refund_note)
sepay_cli.add_typer(unmatched_cli, name="unmatched")
sepay_cli.add_typer(symbols_cli, name="symbols")
sepay_cli.add_typer(orders_cli, name="orders")
sepay_cli.add_typer(licenses_cli, name="licenses")

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]


@wallet_cli.command("show")
def show_wallet(user: UserArgument, as_json: JsonOption = False) -> None:
    """Show a wallet: balance and status."""

    async def work() -> WalletReply:
        async with opened(needs_secrets=False) as hub:
            return await operating.show_wallet(hub.api, user)

    _print_wallet(run(work), user, as_json)


@wallet_cli.command("history")
def show_history(user: UserArgument, limit: LimitOption = 50, as_json: JsonOption = False) -> None:
    """Show the movements of a wallet, newest first."""

    async def work() -> list[WalletLine]:
        async with opened(needs_secrets=False) as hub:
            return list(await operating.show_history(hub.api, user, limit))

    lines = run(work)
    if as_json:
        print_json(lines)
        return
    print_table(
        f"Wallet of user {user}",
        ["time", "kind", "change", "balance", "reference"],
        [
            [line.posted_at, line.kind, f"{line.change_minor:+,}", f"{line.after_minor:,}", line.reference]
            for line in lines
        ],
        empty="no movements",
    )


@wallet_cli.command("suspend")
def suspend_wallet(
    user: UserArgument, reason: ReasonOption = "", by: ByOption = "", as_json: JsonOption = False
) -> None:
    """Refuse credits and spending until the wallet is activated."""

    async def work() -> WalletReply:
        async with opened() as hub:
            return await operating.suspend(hub.api, user, by=actor(by), reason=reason)

    _print_wallet(run(work), user, as_json)


@wallet_cli.command("activate")
def activate_wallet(
    user: UserArgument, reason: ReasonOption = "", by: ByOption = "", as_json: JsonOption = False
) -> None:
    """Make a wallet usable again and release the transfers that were held for it."""

    async def work() -> tuple[WalletReply, int]:
        async with opened() as hub:
            return await operating.activate(hub.api, user, by=actor(by), reason=reason)

    wallet, released = run(work)
    if as_json:
        print_json({**wallet.model_dump(mode="json"), "released": released})
        return
    _print_wallet(wallet, user, as_json)
    say(f"Held transfers that are being released: {released}")


@unmatched_cli.command("list")
def list_unmatched(limit: LimitOption = 100, as_json: JsonOption = False) -> None:
    """List the transfers that wait for a person, oldest first: in suspense, or not in the books at all."""

    async def work() -> list[SuspenseLine]:
        async with opened(needs_secrets=False) as hub:
            return list(await operating.list_unmatched(hub.api, limit))

    lines = run(work)
    if as_json:
        print_json(lines)
        return
    print_table(
        "Transfers that wait",
        ["transfer", "bank's time", "amount", "outcome", "content", "intent or suggestion"],
        [
            [
                line.sepay_tx_id,
                line.booked_at,
                f"{line.amount_minor:,}",
                line.outcome,
                line.content,
                line.intent_id or line.suggested_intent_id,
            ]
            for line in lines
        ],
    )


@sandbox_cli.command("pay")
def pay(
    order_code: Annotated[str, typer.Argument(help="The order code of a top-up.")],
    *,
    amount: Annotated[int | None, typer.Option(min=1, help="Dong; default: what the intent asks for.")] = None,
    content: Annotated[str | None, typer.Option(help="The whole text of the transfer instead of the bank's.")] = None,
    id: Annotated[int | None, typer.Option(min=0, help="SePay's id of the transfer; default: a new one.")] = None,
    bank: Annotated[str, typer.Option(help=f"Whose style: {', '.join(BANK_STYLES)}.")] = "bidv",
    booked_at: Annotated[str | None, typer.Option(help="Vietnamese time, YYYY-MM-DD HH:MM:SS; default: now.")] = None,
    is_out: Annotated[bool, typer.Option("--out", help="Money that leaves our account.")] = False,
    duplicate: Annotated[bool, typer.Option("--duplicate", help="Deliver the same webhook twice.")] = False,
    lost: Annotated[bool, typer.Option("--lost", help="Book it at the bank and send no webhook.")] = False,
    retries: Annotated[
        bool, typer.Option("--retry", help="Repeat a webhook that failed as SePay does: 8 times within 33 minutes.")
    ] = False,
    speed: Annotated[float, typer.Option(min=0.1, max=100_000, help="With --retry: how much faster time runs.")] = 1.0,
    url: Annotated[str | None, typer.Option(help="Where the hub takes SePay's webhooks; default: here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Play the bank: send the webhook of a transfer with this order code to the running hub."""

    async def work() -> tuple[Payment, list[Answer]]:
        order = PaymentOrder(
            order_code=order_code,
            amount_minor=amount,
            content=content,
            id=id,
            bank=bank,
            booked_at=desk_cli.bank_time_option(booked_at),
            is_out=is_out,
            deliveries=2 if duplicate else 1,
            is_lost=lost,
            retries=retries,
            speed=speed,
            url=url,
        )
        async with opened() as hub:
            payment, answers = await operating.pay(hub.api, order)
            return payment, list(answers)

    payment, answers = run(work)
    if as_json:
        print_json({"id": payment.id, "amount": payment.amount_minor, "answers": answers})
    else:
        say(f"Transfer {payment.id} of {payment.amount_minor:,} VND for {payment.code}")
        if lost:
            say("  booked at the bank; its webhook is lost until the hub polls the statement")
        for answer in answers:
            say(f"  the hub answered {answer.status} {answer.body}")
    if not all(answer.is_success for answer in (answers[-1:] if retries else answers)):
        raise typer.Exit(EXIT_PROBLEM)


def _print_wallet(wallet: WalletReply, user: str, as_json: bool) -> None:
    if as_json:
        print_json(wallet)
        return
    print_table(
        f"Wallet of user {user}",
        ["balance", "currency", "status", "changed", "wallet"],
        [[f"{wallet.balance:,}", wallet.currency, wallet.status, wallet.updated_at, wallet.wallet_id]],
    )
