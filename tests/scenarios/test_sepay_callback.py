"""The callback: not there by default; proven like a webhook; and without SePay's number only a hint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.sepay.sandbox_bank import SandboxBank, TransactionList
from handlers.sepay.tables import PayBankTransaction
from hub.store import tables as t
from tests.scenarios.bank import ACCOUNTS, Bank, transfer
from tests.scenarios.conftest import NOW
from tests.support.clock import SettableClock
from tests.support.running import PROJECT, environment, running, until

CALLBACK = "/api/seapay/callback"
TOKEN = "test-list-token"
LONGEST_PAUSE_S = 301
PAYLOADS: dict[str, Any] = {
    one["id"]: one["payload"]
    for one in json.loads((PROJECT / "tests/data/sepay/webhook_payloads.json").read_text("utf-8"))["payloads"]
}
IPN: dict[str, Any] = json.loads((PROJECT / "tests/data/sepay/gateway_ipn_samples.json").read_text("utf-8"))
THANKED = (200, {"success": True})
INVALID = (400, {"success": False, "message": "Invalid payload"})


@asynccontextmanager
async def enabled(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[tuple[Bank, SandboxBank]]:
    sandbox = SandboxBank(tmp_path / "bank.jsonl")
    app = web.Application()
    app.add_routes(TransactionList(sandbox, TOKEN, requests_per_second_max=1_000).routes())
    async with TestServer(app) as server:
        environ = environment(
            tmp_path,
            database_url,
            SEPAY_ACCOUNTS=ACCOUNTS,
            SEPAY_CALLBACK_ENABLED="true",
            SEPAY_API_TOKEN=TOKEN,
            SEPAY_API_BASE=str(server.make_url("")),
        )
        async with running(environ, clock=clock) as hub:
            bank = Bank(hub)
            yield bank, sandbox
            await bank.settled()
            await bank.assert_no_money_appeared_or_vanished()


@pytest.fixture
async def callback(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[tuple[Bank, SandboxBank]]:
    async with enabled(database_url, tmp_path, clock) as both:
        yield both


def hint(asked: dict[str, Any], **fields: object) -> dict[str, Any]:
    """What a browser's return says: the guide's four fields."""
    given = {"content": asked["transfer_content"], "transferAmount": asked["amount"]}
    return {**PAYLOADS["callback_minimal"], **given, **fields}


async def is_deferred(bank: Bank) -> None:
    """Wait until the one hint has been looked for and waits for the next look."""

    async def waits() -> bool:
        return any(row.state == "deferred" for row in await bank.rows(t.deliveries))

    await until(waits)


async def look_again(bank: Bank, clock: SettableClock) -> None:
    """Let the time of the next look come, and wait for that look."""

    async def looks() -> int:
        # The poll asks for the statement too, and has calls of its own.
        return sum(row.lookups for row in await bank.rows(t.calls) if row.step == "confirm")

    before = await looks()
    clock.advance(LONGEST_PAUSE_S)

    async def has_looked() -> bool:
        return await looks() > before

    await until(has_looked)


async def test_there_is_no_callback_by_default(bank: Bank) -> None:
    status, _ = await bank.deliver(PAYLOADS["callback_minimal"], path=CALLBACK)

    assert status == 404
    assert await bank.rows(t.inbox) == []


async def test_a_callback_with_sepay_s_number_is_a_webhook(callback: tuple[Bank, SandboxBank]) -> None:
    bank, _ = callback
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    body = transfer(asked["transfer_content"])

    replies = [await bank.deliver(body, path=path) for path in (CALLBACK, f"{CALLBACK}/", "/webhooks/sepay")]

    assert replies == [THANKED] * 3
    await bank.settled()
    assert await bank.outcomes("settle-bank-transfer") == ["credited"]
    assert len(await bank.rows(t.duplicates)) == 2


async def test_a_hint_credits_nothing_until_the_statement_shows_it(
    callback: tuple[Bank, SandboxBank], clock: SettableClock
) -> None:
    bank, sandbox = callback
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    for _ in range(2):
        assert await bank.deliver(hint(asked), path=CALLBACK) == THANKED

    await is_deferred(bank)
    assert (await bank.call("GET", "/wallet/"))[1]["balance"] == 0
    # Another amount, another reference: not this one.
    sandbox.book(
        transfer(asked["transfer_content"], 5_000, id=1, referenceCode="FT24315123456"),
        transfer("no code", 100_000, id=2, referenceCode="FT1"),
        transfer("something else", 100_000, id=3, referenceCode="FT24315123456"),
    )
    await look_again(bank, clock)
    await is_deferred(bank)
    assert await bank.outcomes("settle-bank-transfer") == []

    sandbox.book(transfer(asked["transfer_content"], id=4, referenceCode="FT24315123456"))

    await look_again(bank, clock)
    await bank.settled()
    # The poll may have brought the others, and this one too; each once.
    outcomes = {row.sepay_tx_id: row.outcome for row in await bank.entities(PayBankTransaction)}
    assert outcomes[4] == "credited"
    assert (await bank.call("GET", "/wallet/"))[1]["balance"] == 100_000
    assert await bank.outcomes("confirm-callback") == ["confirmed"]
    # Its webhook is a duplicate now.
    await bank.deliver(transfer(asked["transfer_content"], id=4, referenceCode="FT24315123456"))
    await bank.settled()
    assert (await bank.call("GET", "/wallet/"))[1]["balance"] == 100_000


async def test_a_hint_that_no_statement_confirms_ends(callback: tuple[Bank, SandboxBank], clock: SettableClock) -> None:
    bank, _ = callback
    assert await bank.deliver(PAYLOADS["callback_minimal"], path=CALLBACK) == THANKED

    async def has_ended() -> bool:
        clock.advance(3_600)
        return await bank.outcomes("confirm-callback") == ["callback_unconfirmed"]

    await until(has_ended)
    assert clock.now() - NOW > timedelta(hours=6)


async def test_a_stranger_s_callback_and_nonsense_are_refused(callback: tuple[Bank, SandboxBank]) -> None:
    bank, _ = callback
    stranger = await bank.deliver(PAYLOADS["callback_minimal"], path=CALLBACK, authorization="Apikey wrong")
    nonsense = [
        await bank.deliver(body, path=CALLBACK)
        for body in (
            b"",
            b"{",
            b"[]",
            b'{"content": "x"}',
            json.dumps({**PAYLOADS["callback_minimal"], "transferAmount": -5}).encode(),
            json.dumps({**PAYLOADS["callback_minimal"], "transferType": "up"}).encode(),
        )
    ]

    assert stranger == (401, {"success": False, "message": "Unauthorized"})
    assert nonsense == [INVALID] * 6
    assert (await bank.deliver(b" " * 70_000, path=CALLBACK))[0] == 413
    assert await bank.rows(t.reviews) == []


async def test_the_notice_of_sepay_s_payment_gateway_is_no_transfer(bank: Bank) -> None:
    """Another product posts another body; on the webhook of bank transfers it is refused and shown to a person."""
    assert await bank.deliver(IPN["order_paid"]["body"]) == INVALID

    await bank.settled()
    assert await bank.outcomes("settle-bank-transfer") == []
    assert [row.state for row in await bank.rows(t.deliveries)] == ["parked"]


REFUSED_BODIES = {"missing_id", "callback_minimal"}


@pytest.mark.parametrize("name", PAYLOADS)
async def test_every_published_body_is_answered(bank: Bank, name: str) -> None:
    reply = await bank.deliver(PAYLOADS[name])

    assert reply == (INVALID if name in REFUSED_BODIES else THANKED)
    await bank.settled()
    expected = {
        "outgoing": "ignored_out",
        "dashboard_test": "test_ping",
        "negative_amount": "invalid_payload",
        "bad_transfer_type": "invalid_payload",
        "bad_date": "invalid_payload",
        "official_legacy_sample": "account_mismatch",
        "official_current_sample": "account_mismatch",
        "mb_shape": "account_mismatch",
        "acb_short_reference": "account_mismatch",
        "ocb_va_shape": "account_mismatch",
    }
    outcomes = [] if name in REFUSED_BODIES else [expected.get(name, "unmatched")]
    assert await bank.outcomes("settle-bank-transfer") == outcomes
