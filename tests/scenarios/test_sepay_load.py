"""Many transfers, many of them delivered twice, some never, in no order: bank and books agree to the dong.

``HUB_TEST_TRANSFERS`` says how many (10000 for a whole run). On PostgreSQL two hubs share the work.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.sepay.bank_desk import poll_once
from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.sandbox_bank import SandboxBank, TransactionList
from handlers.sepay.sandbox_traffic import Asked, traffic
from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables import PayBankTransaction, PayPaymentIntent, PayWallet
from hub.clock import SystemClock
from hub.operate.equation import check
from hub.store import tables as t
from hub.store.store import Store
from tests.scenarios.bank import ACCOUNTS, MAIN_ACCOUNT, WEBHOOK, Bank
from tests.support.running import PROJECT, WEBHOOK_KEY, RunningHub, environment, running, until

TRANSFERS = int(os.environ.get("HUB_TEST_TRANSFERS", "60"))
DUPLICATES, LOST = 0.3, 0.1
SENDERS = 16
UNSCHEDULED = ("ingress", "worker", "relay")
WALLETS = max(20, TRANSFERS // 5)
TOKEN = "test-list-token"
SEED = 20241115
RECONCILE_S_MAX = 600.0


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[tuple[SandboxBank, str]]:
    """The bank, and where its transaction list is."""
    bank = SandboxBank(tmp_path / "bank.jsonl")
    app = web.Application()
    app.add_routes(TransactionList(bank, TOKEN).routes())
    async with TestServer(app) as server:
        yield bank, str(server.make_url(""))


@pytest.mark.timeout(1_800 + TRANSFERS)
async def test_bank_and_books_agree_after_a_storm(
    database_url: str, tmp_path: Path, sandbox: tuple[SandboxBank, str]
) -> None:
    bank_book, base = sandbox
    homes = [tmp_path / name for name in ("first", "second")][: 2 if "postgresql" in database_url else 1]
    bank_of_theirs = {"SEPAY_ACCOUNTS": ACCOUNTS, "SEPAY_API_TOKEN": TOKEN, "SEPAY_API_BASE": base}
    environs = [environment(home, database_url, **bank_of_theirs) for home in homes]
    now = SystemClock().now().replace(microsecond=0)
    async with AsyncExitStack() as stack:
        # Whether a schedule comes due meanwhile would be up to the machine's clock: of two hubs that fire one instant
        # one counts a duplicate, and the statement might be read in the middle of the storm.
        hubs = [await stack.enter_async_context(running(one, roles=UNSCHEDULED)) for one in environs]
        settings: SepaySettings = hubs[0].hub.settings_of("sepay")
        account = settings.receiving.receiving(MAIN_ACCOUNT)
        assert account is not None
        asked = await open_intents(hubs[0].hub.store, TRANSFERS)
        storm = traffic(
            asked,
            account,
            first_id=1_000_000,
            booked_at=now - timedelta(minutes=20),
            duplicates=DUPLICATES,
            lost=LOST,
            seed=SEED,
        )
        bank_book.book(*storm.booked)

        await send_all(hubs, storm.deliveries)
        bank = Bank(hubs[0])
        await at_rest(bank)
        before = await reconcile(environs[0])
        polled = await poll_once(hubs[0].hub.api)
        await at_rest(bank)
        after = await reconcile(environs[0])

        total = sum(one.amount_minor for one in asked)
        assert storm.lost == round(TRANSFERS * LOST) > 0
        assert len(differences(before)) == storm.lost
        assert {one["kind"] for one in differences(before)} == {"not_in_books"}
        assert (polled.rows_read, polled.accepted) == (TRANSFERS, storm.lost)
        assert (after["agrees"], after["at_bank_minor"], after["in_books_minor"]) == (True, total, total)
        rows = await bank.entities(PayBankTransaction)
        assert (len(rows), {row.outcome for row in rows}) == (TRANSFERS, {"credited"})
        assert sum(row.source == "reconcile" for row in rows) == storm.lost
        assert len(await bank.rows(t.duplicates)) == storm.repeated
        async with hubs[0].hub.store.reading() as conn:
            assert await conn.scalar(text("SELECT SUM(balance) FROM pay_wallet_balances")) == total
        assert (await check(hubs[0].hub.store)).violations == ()


async def open_intents(store: Store, count: int) -> list[Asked]:
    """Top-ups that wait for their money, for a few wallets, put into the tables at once."""
    now = SystemClock().now()
    asked = [Asked(f"TOPUP{1_700_000_000 + number}{number:08X}", 10_000 + number) for number in range(count)]
    wallets = [
        {"id": UUID(int=n + 1), "user_id": f"user-{n}", "currency": "VND", "status": "active"} for n in range(WALLETS)
    ]
    intents = [
        {
            "intent_id": UUID(int=1_000 + number),
            "user_id": f"user-{number % WALLETS}",
            "purpose": "wallet_topup",
            "amount": one.amount_minor,
            "currency": "VND",
            "status": "processing",
            "order_code": one.code,
            "order_code_norm": one.code,
            "expires_at": now + timedelta(hours=1),
            "metadata": {},
        }
        for number, one in enumerate(asked)
    ]

    async def work(conn: AsyncConnection) -> None:
        times = {"created_at": now, "updated_at": now}
        await conn.execute(insert(PayWallet), [{**row, **times} for row in wallets])
        await conn.execute(insert(PayPaymentIntent), [{**row, **times} for row in intents])

    await store.write(work)
    return asked


async def send_all(hubs: Sequence[RunningHub], bodies: Sequence[bytes]) -> None:
    """Send every webhook, some at a time, to any of the hubs; each must be thanked."""
    waiting = iter(enumerate(bodies))

    async def sender() -> None:
        for number, body in waiting:
            hub = hubs[number % len(hubs)]
            headers = {"Content-Type": "application/json", "Authorization": f"Apikey {WEBHOOK_KEY}"}
            assert await hub.post(WEBHOOK, body, **headers) == (200, {"success": True})

    async with asyncio.TaskGroup() as group:
        for _ in range(SENDERS):
            group.create_task(sender())


async def at_rest(bank: Bank) -> None:
    """Wait until nothing is left to do, for as long as something is done: how long it takes is the machine's affair."""
    await until(lambda: is_at_rest(bank), "every delivery to be done", pause_s=0.5, moves=lambda: deliveries(bank))
    await bank.settled()


async def is_at_rest(bank: Bank) -> bool:
    # Counted by the database: to fetch thousands of rows a hundred times a second would be most of the work.
    return (await deliveries(bank))[1] == 0


async def deliveries(bank: Bank) -> tuple[int, int]:
    """How many are done, and how many are not."""
    query = select(t.deliveries.c.state, func.count().label("number")).group_by(t.deliveries.c.state)
    async with bank.running.hub.store.reading() as conn:
        counts = {row.state: row.number for row in await conn.execute(query)}
    return counts.get("done", 0), sum(count for state, count in counts.items() if state != "done")


async def reconcile(environ: Mapping[str, str]) -> dict[str, object]:
    """What ``hub reconcile sepay --json`` says, from a process of its own; it exits 1 on a difference."""
    since = bank_time_text(SystemClock().now() - timedelta(hours=2))
    command = ["-m", "hub", "reconcile", "sepay", "--since", since, "--json"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(RECONCILE_S_MAX):
        out, errors = await process.communicate()
    assert process.returncode in (0, 1), errors.decode()
    result: dict[str, object] = json.loads(out)
    assert process.returncode == (0 if result["agrees"] else 1)
    return result


def differences(result: Mapping[str, object]) -> list[dict[str, object]]:
    found = result["differences"]
    assert isinstance(found, list)
    return found
