"""``hub sandbox paypay``: what its users and admins do, against a stand-in that runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from handlers.paypay.client import PayPay
from handlers.paypay.outcomes import Facts
from handlers.paypay.sandbox_cli import sandbox_cli
from handlers.paypay.wire import CreateCode, LinkAccount
from tests.support.paypay import paypay_sandbox, settings_for
from tests.unit.paypay.test_paypay_client import NOW, gift

SERVE = "from handlers.paypay.sandbox_cli import sandbox_cli; sandbox_cli()"
START_S_MAX = 30.0


async def say(*words: str, code: int = 0) -> Any:
    """Run a command in a thread: it runs a loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, sandbox_cli, [*words, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if code == 0 else result.output


async def test_what_users_and_admins_do_is_a_command() -> None:
    async with paypay_sandbox() as (_, url):
        client = PayPay(settings_for(url))
        link = LinkAccount(nonce="n-1", redirect_url="https://shop.example.test/", reference_id="member-1")
        address = Facts.of(await client.link_account(link)).data["linkQRCodeURL"]
        code = await client.create_code(CreateCode(merchant_payment_id="pay-1", amount_jpy=5, requested_at=NOW), "")

        declined = await say("login", address, "--decline")
        await say("login", address, code=2)
        paid = await say("pay", Facts.of(code).data["url"])
        ordered = await say("fault", "reset-after-commit", "--times", "2", "--url", url)
        await client.give_cashback(gift(), "")
        counted = await say("fault", "--url", url)
        cleared = await say("fault", "--clear", "--url", url)
        file = await say("file", "--url", url)
        books = await say("books", "--url", url)
        client.close()

    assert "responseToken" in declined["redirectUrl"]
    assert paid["status"] == "COMPLETED"
    assert ordered["orders"] == [{"fault": "reset-after-commit", "times": 2, "path": ""}]
    assert counted["happened"] == {"reset-after-commit": 1}
    assert cleared["orders"] == []
    assert file["name"].startswith("transaction_")
    assert (books["granted_jpy"], len(books["payments"])) == (50, 1)


async def test_without_a_sandbox_a_command_says_where_it_looked() -> None:
    said = await say("books", "--url", "http://127.0.0.1:9", code=2)

    assert "no sandbox answers at http://127.0.0.1:9" in said


async def test_the_server_says_where_it_is_and_stops_when_told(tmp_path: Path) -> None:
    served = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVE, "--port", "0", "--fault", "busy-429=1", "--hub-url", ""),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "HUB_HOME": str(tmp_path)},
    )
    try:
        async with asyncio.timeout(START_S_MAX):
            assert served.stdout is not None
            line = (await served.stdout.readline()).decode()
            faults = await say("fault", "--url", line.split("PAYPAY_BASE_URL=")[1].strip())
            served.send_signal(signal.SIGTERM)
            status = await served.wait()
    finally:
        if served.returncode is None:
            served.kill()
            await served.wait()

    assert faults["chances"] == {"busy-429": 1.0}
    assert status == 0
    assert (tmp_path / "secrets" / "PAYPAY_API_SECRET").exists()


@pytest.mark.parametrize("fault", ["nonsense", "busy-429=2"])
def test_a_fault_that_is_none_is_refused(fault: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(sandbox_cli, ["--port", "0", "--fault", fault], env={"HUB_HOME": str(tmp_path)})

    assert result.exit_code == 2
