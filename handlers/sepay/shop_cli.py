"""``hub sepay symbols …`` and ``hub sepay orders …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handlers.sepay import shop_desk
from handlers.sepay.shop_desk import OrderSummary
from hub.cli.opening import opened
from hub.cli.options import LimitOption
from hub.cli.output import JsonOption, print_json, print_table, run, say
from schemas.sepay_orders import SymbolUpserted

symbols_cli = typer.Typer(no_args_is_help=True, help="The catalogue: what can be bought, for how long, at which price.")
orders_cli = typer.Typer(no_args_is_help=True, help="Orders of licences.")


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
