"""What the doctor finds, on a real database and against the sandbox's own transaction list."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.checks import checks
from handlers.sepay.sandbox_bank import SandboxBank, TransactionList
from handlers.sepay.settings import SepaySettings
from hub.api import HubApi
from tests.unit.sepay.conftest import wallet_settings
from tests.unit.sepay.desk import Desk
from tests.unit.sepay.desk_api import DeskApi


async def found(desk: Desk) -> dict[str, tuple[bool, str]]:
    return {one.name: (one.ok, one.detail) for one in await checks(cast(HubApi, DeskApi(desk)))}


async def test_a_hub_without_settings_is_told_what_to_set(desk: Desk) -> None:
    desk.settings = SepaySettings()

    findings = await found(desk)

    assert findings["receiving accounts"] == (False, "none: set SEPAY_ACCOUNTS")
    assert findings["proof of webhooks"] == (False, "no secret is set")
    assert findings["bank statement"][0] is False
    assert "SEPAY_API_TOKEN" in findings["bank statement"][1]


async def test_a_hub_that_is_set_up_lacks_only_its_first_poll(desk: Desk, tmp_path: Path) -> None:
    app = web.Application()
    app.add_routes(TransactionList(SandboxBank(tmp_path / "bank.jsonl"), "the-token").routes())
    async with TestServer(app) as server:
        base = str(server.make_url(""))
        desk.settings = wallet_settings(
            webhook_secret="x", api_token="the-token", api_base=base, sandbox=True, api_version="2"
        )
        good = await found(desk)
        desk.settings = wallet_settings(webhook_secret="x", api_token="another", api_base=base, sandbox=True)
        bad = await found(desk)

    assert {name for name, (ok, _) in good.items() if not ok} == {"last poll"}
    assert "hmac" in good["proof of webhooks"][1]
    assert bad["bank statement"][0] is False
    assert "another" not in str(bad)


async def test_a_bank_whose_number_is_not_known_is_said(desk: Desk) -> None:
    desk.settings = wallet_settings(accounts=(ReceivingAccount(bank_code="NEW", account_number="8880000001"),))

    ok, detail = (await found(desk))["receiving account"]

    assert not ok
    assert "set bin" in detail
