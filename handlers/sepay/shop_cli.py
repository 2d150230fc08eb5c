"""``hub sepay symbols …``, ``hub sepay orders …`` and ``hub sepay licenses …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from handlers.sepay import shop_desk
from handlers.sepay.shop_desk import LicenseSummary, OrderSummary
from hub.cli.opening import opened
from hub.cli.options import ByOption, LimitOption, actor, as_uuid
from hub.cli.output import JsonOption, print_json, print_table, run, say
from schemas.sepay_desk import WalletAdjusted
from schemas.sepay_orders import LicenseReply, SymbolUpserted

symbols_cli = typer.Typer(no_args_is_help=True, help="The catalogue: what can be bought, for how long, at which price.")
orders_cli = typer.Typer(no_args_is_help=True, help="Orders of licences.")
licenses_cli = typer.Typer(no_args_is_help=True, help="Licences: who may use what until when.")

LicenseArgument = Annotated[str, typer.Argument(metavar="LICENSE", help="The licence's id.")]
WhyOption = Annotated[str, typer.Option("--note", help="Why; kept on record.")]


@symbols_cli.command("import")
def import_symbols(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON: a list of offers.")],
    as_json: JsonOption = False,
) -> None:
    """Add or change offers of the catalogue; what the file does not name stays as it is.

    Example: hub sepay symbols import symbols.json
    """

    async def work() -> int:
        offers = shop_desk.read_offers(file)
        async with opened(needs_secrets=False) as hub:
            return await shop_desk.import_offers(hub.api, offers)

    imported = run(work)
    if as_json:
        print_json({"imported": imported})
    else:
        say(f"{imported} offers are in the catalogue")


@symbols_cli.command("list")
def list_symbols(as_json: JsonOption = False) -> None:
    """Show the catalogue."""

    async def work() -> list[SymbolUpserted]:
        async with opened(needs_secrets=False) as hub:
            return await shop_desk.list_offers(hub.api)

    offers = run(work)
    if as_json:
        print_json([offer.model_dump() for offer in offers])
        return
    print_table(
        "Catalogue",
        ["symbol", "name", "days", "price", "sold"],
        [
            [one.symbol_id, one.name, one.license_days or "for ever", f"{one.price:,}", "yes" if one.active else "no"]
            for one in offers
        ],
    )


@orders_cli.command("list")
def list_orders(
    status: Annotated[str | None, typer.Option(help="Only orders in this status.")] = None,
    user: Annotated[str | None, typer.Option(help="Only orders of this user.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List orders, newest first.

    Example: hub sepay orders list --status pending_payment
    """

    async def work() -> list[OrderSummary]:
        async with opened(needs_secrets=False) as hub:
            return await shop_desk.list_orders(hub.api, status=status, user_id=user, limit=limit)

    orders = run(work)
    if as_json:
        print_json(orders)
        return
    print_table(
        "Orders",
        ["time", "order", "user", "status", "by", "total"],
        [
            [one.created_at, one.order_id, one.user_id, one.status, one.payment_method, f"{one.total_minor:,}"]
            for one in orders
        ],
    )


@orders_cli.command("refund")
def refund_order(  # noqa: PLR0917 - the options of a command
    order: Annotated[str, typer.Argument(metavar="ORDER", help="The order's id.")],
    note: WhyOption,
    keep_licenses: Annotated[bool, typer.Option("--keep-licenses", help="Give back the money alone.")] = False,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="A name of this refund: given again, it is refused.")
    ] = None,
    by: ByOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a paid order back into its user's wallet, and take back the licence time that it gave.

    Example: hub sepay orders refund 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10 --note "bought by mistake"
    """

    async def work() -> WalletAdjusted:
        order_id = as_uuid(order, "ORDER")
        async with opened() as hub:
            return await shop_desk.refund_order(
                hub.api, order_id, keep_licenses=keep_licenses, by=actor(by), note=note, request_id=request_id
            )

    done = run(work)
    if as_json:
        print_json(done)
    else:
        say(
            f"Order {order} is refunded: {done.amount:,} VND; the wallet of user {done.user_id} holds "
            f"{done.balance_after:,} VND"
        )


@licenses_cli.command("list")
def list_licenses(
    user: Annotated[str | None, typer.Option(help="Only licences of this user.")] = None,
    status: Annotated[str | None, typer.Option(help="Only licences in this status.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List licences, newest first.

    Example: hub sepay licenses list --user 42
    """

    async def work() -> list[LicenseSummary]:
        async with opened(needs_secrets=False) as hub:
            return await shop_desk.list_licenses(hub.api, user_id=user, status=status, limit=limit)

    licenses = run(work)
    if as_json:
        print_json(licenses)
        return
    print_table(
        "Licences",
        ["licence", "user", "symbol", "status", "from", "until"],
        [
            [one.license_id, one.user_id, one.symbol_id, one.status, one.start_at, one.end_at or "for ever"]
            for one in licenses
        ],
    )


@licenses_cli.command("suspend")
def suspend_license(license: LicenseArgument, note: WhyOption, by: ByOption = "", as_json: JsonOption = False) -> None:
    """Refuse access until the licence is restored; its end stays where it is."""
    _change(license, "suspend", note, by, as_json)


@licenses_cli.command("restore")
def restore_license(license: LicenseArgument, note: WhyOption, by: ByOption = "", as_json: JsonOption = False) -> None:
    """Give access again with a licence that was suspended."""
    _change(license, "restore", note, by, as_json)


@licenses_cli.command("revoke")
def revoke_license(license: LicenseArgument, note: WhyOption, by: ByOption = "", as_json: JsonOption = False) -> None:
    """End a licence for ever, and its renewal. No money moves: `orders refund` gives it back."""
    _change(license, "revoke", note, by, as_json)


def _change(license: str, change: Literal["suspend", "restore", "revoke"], note: str, by: str, as_json: bool) -> None:
    async def work() -> LicenseReply:
        license_id = as_uuid(license, "LICENSE")
        async with opened() as hub:
            return await shop_desk.change_license(hub.api, license_id, change, by=actor(by), note=note)

    done = run(work)
    if as_json:
        print_json(done)
    else:
        say(f"Licence {license} is {done.status}")
