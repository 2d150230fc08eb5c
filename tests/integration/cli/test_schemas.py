"""``hub schemas`` and ``hub asyncapi``: what messages look like, from routing.yaml alone and without a secret."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.cli.commanding import SHOP, Cli


def test_schemas_are_listed_and_shown_without_a_secret(cli: Cli) -> None:
    for name in ("HUB_SANDBOX", "SEPAY_WEBHOOK_API_KEY", "HUB_API_KEY", "HUB_JWT_SECRET"):
        cli.unset(name)

    listed = {one["name"]: one for one in cli("schemas", "list", "--json").json}
    shown = cli("schemas", "show", "sepay.WalletCredited").json

    assert listed["sepay.WalletCredited"]["direction"] == "out"
    assert listed["sepay.Transfer"] == {
        "name": "sepay.Transfer",
        "direction": "in",
        "title": "One bank transfer as SePay reports it.",
    }
    assert "Money has arrived in a wallet." in cli("schemas", "list").words
    assert shown["$id"] == "urn:hub:schema:sepay.WalletCredited"


def test_a_name_that_is_none_is_told_with_the_nearest(cli: Cli) -> None:
    answer = cli("schemas", "show", "sepay.WalletCredit")

    assert answer.code == 2
    assert "did you mean 'sepay.WalletCredited'" in answer.words


def test_an_export_holds_every_schema_and_the_document(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "schemas"
    written = cli("schemas", "export", str(folder), "--json").json

    names = [one["name"] for one in cli("schemas", "list", "--json").json]
    assert (
        sorted(file.name for file in folder.iterdir())
        == written
        == sorted(["asyncapi.json", *(f"{name}.json" for name in names)])
    )
    assert json.loads((folder / "asyncapi.json").read_text()) == cli("asyncapi").json
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert cli("schemas", "export", str(blocked)).code == 2


def test_the_document_is_that_of_the_rules_at_hand(cli: Cli) -> None:
    cli.set({"HUB_ROUTING": str(cli.write("routing.yaml", SHOP))})

    document = cli("asyncapi", "--json").json

    assert set(document["channels"]) == {"source.shop.webhook", "destination.nowhere"}
    assert cli("schemas", "list").code == 0
