"""Webhooks as forms, from some addresses only, answered as the guide has it: what the settings of the door decide."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import text

from hub.store import tables as t
from tests.scenarios.bank import ACCOUNTS, WEBHOOK, Bank, transfer
from tests.support.clock import SettableClock
from tests.support.running import WEBHOOK_KEY, environment, running

FORM = "application/x-www-form-urlencoded"
PROXIED = "203.0.113.7"


def as_texts(fields: dict[str, Any]) -> dict[str, str]:
    return {name: "null" if value is None else str(value) for name, value in fields.items()}


async def send(bank: Bank, body: bytes, content_type: str, **headers: str) -> tuple[int, Any]:
    given = {"Content-Type": content_type, "Authorization": f"Apikey {WEBHOOK_KEY}", **headers}
    return await bank.running.post(WEBHOOK, body, **given)


async def test_a_form_is_the_same_transfer_and_is_answered_as_the_guide_has_it(
    database_url: str, tmp_path: Path, clock: SettableClock
) -> None:
    environ = environment(
        tmp_path,
        database_url,
        HUB_SANDBOX="",
        SEPAY_ACCOUNTS=ACCOUNTS,
        SEPAY_WEBHOOK_REPLY="verbose",
        SEPAY_ALLOWED_IPS=f"198.51.100.0/24, {PROXIED}",
        HUB_TRUSTED_PROXIES="127.0.0.0/8",
    )
    async with running(environ, clock=clock) as hub:
        bank = Bank(hub)
        _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
        fields = transfer(asked["transfer_content"], id=7)
        body = urlencode(as_texts(fields)).encode()

        assert (await send(bank, body, FORM))[0] == 401
        assert (await send(bank, body, FORM, **{"X-Forwarded-For": "192.0.2.1"}))[0] == 401
        assert await bank.rows_of_source("sepay") == []
        allowed = {"X-Forwarded-For": PROXIED}
        status, reply = await send(bank, body, FORM, **allowed)
        again = await send(bank, json.dumps(fields).encode(), "application/json", **allowed)
        await bank.settled()

        (paid,) = await bank.outcomes("settle-bank-transfer")
        assert (status, paid) == (200, "credited")
        assert again[0] == 200
        assert (len(await bank.rows(t.duplicates)), await bank.rows(t.conflicts)) == (1, [])
        _, topup = await bank.call("GET", f"/wallet/topup/{asked['intent_id']}/status")
        assert reply == {
            "success": True,
            "status": "success",
            "message": "OK",
            "payment_id": topup["payment_id"],
            "processed_at": reply["processed_at"],
        }
        assert datetime.fromisoformat(reply["processed_at"]).tzinfo is not None
        async with bank.running.hub.store.reading() as conn:
            rows = await conn.execute(text("SELECT sepay_tx_id, source_ip FROM pay_sepay_webhook_events"))
            assert [tuple(row) for row in rows] == [(7, PROXIED)]
