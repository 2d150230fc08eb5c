"""What operators do with the catalogue and with orders, on a running hub; and what the sandbox sells by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from handlers.sepay import cli, shop_cli, shop_desk
from handlers.sepay.shop_desk import SAMPLE_CATALOGUE, import_offers, list_offers, list_orders, read_offers
from handlers.sepay.tables_orders import PaySymbol
from hub.errors import UsageError
from hub.store import tables as t
from schemas.sepay_orders import SymbolUpserted
from tests.scenarios.shop import PRICE, Shop
from tests.support.running import environment, running

OFFERS = [
    {"symbol_id": 7, "name": "Seven", "price": 10_000, "license_days": 30},
    {"symbol_id": 7, "name": "Seven", "price": 90_000, "license_days": None, "active": False},
]


async def test_offers_are_imported_changed_and_listed(shop: Shop, tmp_path: Path) -> None:
    api = shop.bank.running.hub.api
    file = tmp_path / "symbols.json"
    file.write_text(json.dumps(OFFERS))

    assert await import_offers(api, read_offers(file)) == 2
    await import_offers(api, [SymbolUpserted(symbol_id=7, name="VII", price=20_000, license_days=30)])

    found = [one for one in await list_offers(api) if one.symbol_id == 7]
    assert [(one.license_days, one.price, one.name, one.active) for one in found] == [
        (None, 90_000, "VII", False),
        (30, 20_000, "VII", True),
    ]
    seven = {"symbol_id": 7, "price": 90_000, "license_days": None}
    refused = await shop.bank.call("POST", "/symbol/orders/", {"items": [seven], "payment_method": "wallet"})
    assert (refused[0], refused[1]["code"]) == (400, "price_mismatch")


async def test_orders_are_listed_by_status_and_user(shop: Shop) -> None:
    api = shop.bank.running.hub.api
    await shop.fund(PRICE)
    paid, waiting = await shop.order(), await shop.order(user="43")

    assert {str(one.order_id) for one in await list_orders(api)} == {waiting["order_id"], paid["order_id"]}
    assert [str(one.order_id) for one in await list_orders(api, status="paid")] == [paid["order_id"]]
    assert [one.user_id for one in await list_orders(api, user_id="43")] == ["43"]
    with pytest.raises(UsageError, match="no order is 'lost'"):
        await list_orders(api, status="lost")


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[", "line 1"), ('{"symbol_id": 1}', "list"), ('[{"symbol_id": 1, "name": "x", "price": 0}]', "0.price")],
)
def test_a_file_that_is_no_catalogue_says_where(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "symbols.json"
    file.write_text(text)

    with pytest.raises(UsageError, match=problem):
        read_offers(file)


async def test_the_sandbox_sells_something_and_leaves_a_filled_catalogue_alone(
    database_url: str, tmp_path: Path
) -> None:
    for _ in range(2):
        async with running(environment(tmp_path, database_url)) as hub:
            offers = await list_offers(hub.hub.api)
            assert sorted(map(repr, offers)) == sorted(map(repr, SAMPLE_CATALOGUE))
            assert await hub.rows(t.inbox) == []
            assert len(await hub.rows(PaySymbol.__table__)) == len(SAMPLE_CATALOGUE)


def test_the_commands_print_tables_and_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @asynccontextmanager
    async def opened(*, needs_secrets: bool = True) -> AsyncIterator[Any]:
        yield type("Hub", (), {"api": None})

    async def answer(*_: object, **__: object) -> Any:
        return [SymbolUpserted(**OFFERS[0])]

    monkeypatch.setattr(shop_cli, "opened", opened)
    monkeypatch.setattr(shop_desk, "list_offers", answer)

    table = CliRunner().invoke(cli.sepay_cli, ["symbols", "list"])
    as_json = CliRunner().invoke(cli.sepay_cli, ["symbols", "list", "--json"])

    assert "Seven" in table.output
    assert "10,000" in table.output
    assert json.loads(as_json.output)[0]["price"] == 10_000
