"""What a whole run prints, also at its most talkative and in trouble, holds no secret and nobody's data."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from hub.ingress.tokens import Doorman
from hub.settings import load_settings
from hub.store.store import Store
from tests.integration.app.process import HubProcess, hub_process
from tests.integration.app.shop import order, send, shop_environment, states
from tests.scenarios.bank import ACCOUNTS, transfer
from tests.scenarios.loymax import SAMPLES
from tests.scenarios.outage import database_away
from tests.support.running import environment, until

WEBHOOK_KEY, WRONG_KEY = "webhook-key-4f1b2c", "wrong-key-77aa01"
ADMIN_KEY, JWT_SECRET = "admin-key-0d9e8f", "jwt-secret-5a6b7c8d9e0f1a2b3c4d5e6f"
DATABASE_PASSWORD = "database-password-1c2d3e"
PAYER = "NGUYEN VAN AN 0912345678"
CARDS = ("4237436357530502", "020000008", "020000001")
UNIQUE_FIELD = "only-in-a-body-3b4c5d"


@pytest.fixture
def secrets() -> list[str]:
    """Everything that must not be found; tests add the tokens that they use."""
    return [WEBHOOK_KEY, WRONG_KEY, ADMIN_KEY, JWT_SECRET, DATABASE_PASSWORD, PAYER, *CARDS, UNIQUE_FIELD]


async def test_a_run_with_money_members_and_trouble_prints_no_secret(
    store: Store, database_url: str, tmp_path: Path, secrets: list[str]
) -> None:
    environ = environment(tmp_path, with_password(database_url)) | {
        "SEPAY_WEBHOOK_API_KEY": WEBHOOK_KEY,
        "SEPAY_ACCOUNTS": ACCOUNTS,
        "HUB_API_KEY": ADMIN_KEY,
        "HUB_JWT_SECRET": JWT_SECRET,
        "HUB_DATABASE_BUSY_TIMEOUT_S": "0.3",
    }
    async with hub_process(environ, "--log-level", "debug") as hub, aiohttp.ClientSession() as http:
        token = await make_token(environ)
        secrets.append(token)
        await play_the_bank(hub, http, token)
        await play_loymax(hub, http)
        async with database_away(store):
            await post(http, f"{hub.url}/webhooks/sepay", transfer(PAYER, id=99), WEBHOOK_KEY)
            await asyncio.sleep(0.5)
        await play_the_bank(hub, http, token)
        await until(lambda: nothing_is_left(store))
        hub.signal(signal.SIGHUP)
        await hub.says("routing_reloaded")
        hub.signal(signal.SIGTERM)
        assert await hub.ended() == 0

        assert "delivery_done" in hub.said
        assert_holds_none(hub.said, secrets)


@pytest.mark.parametrize("table", ["inbox", "entries"])
async def test_what_a_database_says_about_a_refused_row_is_not_printed(
    store: Store, database_url: str, tmp_path: Path, secrets: list[str], table: str
) -> None:
    await refuse_every_row(store, table)
    async with (
        hub_process(shop_environment(tmp_path, database_url), "--log-level", "debug") as hub,
        aiohttp.ClientSession() as http,
    ):
        status = await send(http, hub.url, order(UNIQUE_FIELD))

        assert status == (503 if table == "inbox" else 200)
        await hub.says("accept_failed" if table == "inbox" else "delivery_failed")
        hub.signal(signal.SIGTERM)
        assert await hub.ended() == 0
        assert_holds_none(hub.said, secrets)


def with_password(database_url: str) -> str:
    """The tests' server trusts everybody, so any password will do; SQLite has none."""
    return database_url.replace("://root@", f"://root:{DATABASE_PASSWORD}@")


async def make_token(environ: Mapping[str, str]) -> str:
    return Doorman.of(load_settings(environ)).tokens.issue("42", datetime.now(UTC))


async def play_the_bank(hub: HubProcess, http: aiohttp.ClientSession, token: str) -> None:
    """A top-up that is paid, and transfers with everything wrong about them."""
    url = f"{hub.url}/webhooks/sepay"
    async with http.post(
        f"{hub.url}/api/seapay/wallet/topup/", json={"amount": 100_000}, headers={"Authorization": f"Bearer {token}"}
    ) as response:
        asked = await response.json()
    number = int(asked["intent_id"][-6:], 16)
    for id, content in enumerate([f"{PAYER} {asked['transfer_content']}", PAYER], start=number):
        assert await post(http, url, transfer(content, id=id), WEBHOOK_KEY) == 200
    assert await post(http, url, transfer(PAYER, id=number, transferAmount="1"), WEBHOOK_KEY) == 200
    assert await post(http, url, transfer(PAYER, id=number + 2, transactionDate=PAYER), WEBHOOK_KEY) == 200
    assert await post(http, url, transfer(PAYER, id=PAYER), WEBHOOK_KEY) == 400
    assert await post(http, url, f'{{"content": "{PAYER}"'.encode(), WEBHOOK_KEY) == 400
    assert await post(http, url, transfer(PAYER, id=5), WRONG_KEY) == 401
    async with http.get(f"{hub.url}/api/seapay/wallet/", headers={"Authorization": f"Bearer {token}x"}) as response:
        assert response.status == 401


async def play_loymax(hub: HubProcess, http: aiohttp.ClientSession) -> None:
    """The twelve events and a broken one."""
    for sample in SAMPLES:
        await post_event(hub, http, sample.known_as, sample.payload)
    await post_event(hub, http, "customer.card.link", f'{{"cardNumber": "{CARDS[0]}",}}'.encode())
    await post_event(hub, http, f"customer.{UNIQUE_FIELD}", b"{}", key=WRONG_KEY)


async def post_event(
    hub: HubProcess, http: aiohttp.ClientSession, type_: str, payload: bytes, *, key: str = ADMIN_KEY
) -> None:
    names = {"ce-specversion": "1.0", "ce-source": "loymax", "ce-type": type_, "ce-id": str(hash(payload))}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **names}
    async with http.post(f"{hub.url}/events", data=payload, headers=headers) as response:
        assert response.status == (401 if key == WRONG_KEY else 202)


async def post(http: aiohttp.ClientSession, url: str, body: Mapping[str, Any] | bytes, key: str) -> int:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Apikey {key}", "Content-Type": "application/json"}
    async with http.post(url, data=data, headers=headers) as response:
        return response.status


async def refuse_every_row(store: Store, table: str) -> None:
    """Let the database refuse what is to be stored, as a constraint might; PostgreSQL then quotes the whole row."""
    statement = f"ALTER TABLE {table} ADD CONSTRAINT nothing_fits CHECK (false)"
    if store.dialect == "sqlite":
        refusal = "SELECT RAISE(ABORT, 'nothing fits')"
        statement = f"CREATE TRIGGER nothing_fits BEFORE INSERT ON {table} BEGIN {refusal}; END"
    await store.write(lambda conn: conn.exec_driver_sql(statement))


async def nothing_is_left(store: Store) -> bool:
    return not {"ready", "calling", "retrying"} & set(await states(store))


def assert_holds_none(said: str, secrets: list[str]) -> None:
    for secret in secrets:
        found = said.find(secret)
        assert found < 0, said[max(0, found - 700) : found + 100]
