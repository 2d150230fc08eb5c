"""How SePay proves itself, by every published vector, at the door of a running hub; and the token that it may fetch."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from hub.store import tables as t
from tests.scenarios.bank import ACCOUNTS, WEBHOOK, Bank, transfer
from tests.support.clock import SettableClock
from tests.support.running import PROJECT, environment, running

VECTORS: dict[str, Any] = json.loads((PROJECT / "tests/data/sepay/webhook_auth_vectors.json").read_text("utf-8"))
HMAC, API_KEY = VECTORS["hmac"], VECTORS["apikey"]
REFUSED = (VECTORS["reply_on_refusal"]["status"], VECTORS["reply_on_refusal"]["body"])
ACCEPTED = (200, {"success": True})
BODY = json.dumps(transfer("nothing")).encode()
HMAC_AUTH = (
    '{ scheme: hmac, secret: "${SEPAY_WEBHOOK_SECRET:-}", signature_header: X-SePay-Signature, '
    'timestamp_header: X-SePay-Timestamp, prefix: "sha256=", template: "{timestamp}.{body}", tolerance_s: 300 }'
)
KEY_AUTH = '{ scheme: api_key, prefix: Apikey, secret: "${SEPAY_WEBHOOK_API_KEY:-}" }'
OAUTH_AUTH = '{ scheme: sepay_oauth2, client_id: "${CLIENT:-}", secret: "${SEPAY_OAUTH_CLIENT_SECRET:-}" }'
CLIENT, SECRET, OLD_SECRET = "sepay", "the-client-s-secret-of-32-letters", "the-former-secret"
TOKEN_PATH = "/api/sepay/oauth/token"


@asynccontextmanager
async def at_the_door(
    tmp_path: Path, database_url: str, clock: SettableClock, auth: str, **environ: str
) -> AsyncIterator[Bank]:
    routing = tmp_path / "routing.yaml"
    text = (PROJECT / "routing.yaml").read_text().replace("file: tests/", f"file: {PROJECT}/tests/")
    shipped = next(line for line in text.splitlines() if line.strip().startswith("auth: { scheme: api_key"))
    routing.write_text(text.replace(shipped, f"      auth: {auth}"))
    # An empty variable counts as missing, so no secret is left of what other tests are started with.
    settings = {"SEPAY_WEBHOOK_API_KEY": "", "HUB_SANDBOX": "", **environ}
    full = environment(tmp_path, database_url, SEPAY_ACCOUNTS=ACCOUNTS, HUB_ROUTING=str(routing), **settings)
    async with running(full, clock=clock) as hub:
        yield Bank(hub)


async def send(bank: Bank, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
    return await bank.running.post(WEBHOOK, body, **headers)


async def test_every_vector_of_signatures(tmp_path: Path, database_url: str, clock: SettableClock) -> None:
    async with at_the_door(
        tmp_path, database_url, clock, HMAC_AUTH, SEPAY_WEBHOOK_SECRET=f"another, {HMAC['secret']}"
    ) as bank:
        for case in HMAC["cases"]:
            clock.set(datetime.fromtimestamp(case["now"], UTC))
            reply = await send(bank, case["raw_body"].encode(), case["headers"])
            assert (case["id"], reply) == (case["id"], ACCEPTED if case["accept"] else REFUSED)

        accepted = sum(case["accept"] for case in HMAC["cases"])
        assert len(await bank.rows_of_source("sepay")) + len(await bank.rows(t.duplicates)) == accepted


async def test_every_vector_of_keys(tmp_path: Path, database_url: str, clock: SettableClock) -> None:
    key = API_KEY["configured_key"]
    async with at_the_door(tmp_path, database_url, clock, KEY_AUTH, SEPAY_WEBHOOK_API_KEY=key) as bank:
        for case in API_KEY["cases"]:
            headers = {} if case["header"] is None else {"Authorization": case["header"]}
            reply = await send(bank, BODY, headers)
            assert (case["header"], reply) == (case["header"], ACCEPTED if case["accept"] else REFUSED)


@pytest.mark.parametrize("auth", [HMAC_AUTH, KEY_AUTH, OAUTH_AUTH], ids=["hmac", "api_key", "oauth2"])
async def test_without_any_secret_nobody_is_let_in(
    tmp_path: Path, database_url: str, clock: SettableClock, auth: str
) -> None:
    async with at_the_door(tmp_path, database_url, clock, auth) as bank:
        vector = HMAC["cases"][0]
        clock.set(datetime.fromtimestamp(vector["now"], UTC))
        for headers in (vector["headers"], {"Authorization": "Apikey "}, {"Authorization": "Bearer "}, {}):
            assert await send(bank, vector["raw_body"].encode(), headers) == REFUSED
        assert await bank.rows(t.inbox) == []


async def test_a_token_that_sepay_fetches_opens_until_it_has_expired(
    tmp_path: Path, database_url: str, clock: SettableClock
) -> None:
    client = {"CLIENT": CLIENT, "SEPAY_OAUTH_CLIENT_ID": CLIENT, "SEPAY_OAUTH_CLIENT_SECRET": f"{SECRET},{OLD_SECRET}"}
    async with at_the_door(tmp_path, database_url, clock, OAUTH_AUTH, **client) as bank:
        status, answer = await fetch(bank, form=True)
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        assert (status, answer["token_type"], answer["expires_in"]) == (200, "Bearer", 3600)

        assert await send(bank, BODY, headers) == ACCEPTED
        clock.advance(3_500)
        assert await send(bank, BODY, headers) == ACCEPTED
        clock.advance(200)
        assert await send(bank, BODY, headers) == REFUSED

        # A user's token has another audience, and a stranger's another key.
        assert await send(bank, BODY, {"Authorization": f"Bearer {bank.running.token(CLIENT)}"}) == REFUSED
        assert await send(bank, BODY, {"Authorization": f"Bearer {answer['access_token'][:-2]}xx"}) == REFUSED
        assert await send(bank, BODY, {"Authorization": f"Apikey {SECRET}"}) == REFUSED


async def test_only_the_client_fetches_a_token(tmp_path: Path, database_url: str, clock: SettableClock) -> None:
    client = {"CLIENT": CLIENT, "SEPAY_OAUTH_CLIENT_ID": CLIENT, "SEPAY_OAUTH_CLIENT_SECRET": f"{SECRET},{OLD_SECRET}"}
    async with at_the_door(tmp_path, database_url, clock, OAUTH_AUTH, **client) as bank:
        welcome = [
            await fetch(bank),
            await fetch(bank, form=True),
            await fetch(bank, secret=OLD_SECRET),
            await fetch(bank, basic=True),
        ]
        refused = [
            await fetch(bank, secret="wrong"),
            await fetch(bank, secret=""),
            await fetch(bank, client_id="another"),
            await fetch(bank, client_id=""),
            await fetch(bank, secret="wrong", basic=True),
        ]

        assert [status for status, _ in welcome] == [200] * 4
        assert refused == [(401, {"error": "invalid_client"})] * 5
        assert await fetch(bank, grant_type="password") == (400, {"error": "unsupported_grant_type"})
        assert await bank.running.post(TOKEN_PATH, b"[", **{"Content-Type": "application/json"}) == (
            400,
            {"error": "invalid_request"},
        )


async def test_without_a_client_no_token_is_given(bank: Bank) -> None:
    assert (await fetch(bank, client_id="", secret=""))[0] == 401


async def fetch(
    bank: Bank,
    *,
    client_id: str = CLIENT,
    secret: str = SECRET,
    grant_type: str = "client_credentials",
    form: bool = False,
    basic: bool = False,
) -> tuple[int, Any]:
    fields = {"grant_type": grant_type}
    headers = {}
    if basic:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    else:
        fields |= {"client_id": client_id, "client_secret": secret}
    url = bank.running.url + TOKEN_PATH
    headers["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
    body = urlencode(fields) if form else json.dumps(fields)
    async with bank.running.http.post(url, headers=headers, data=body) as response:
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, await response.json()
