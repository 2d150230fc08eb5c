"""Transaction files of PayPay: announced, fetched, kept, read and compared, with whatever can be wrong with them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.reconciling import Reconciliation, reconcile
from handlers.paypay.tables_files import PayPayTransactionFile
from handlers.paypay.witnesses import Days
from tests.scenarios.paypay_exchange import API, CLIENT_KEY, Shop, paypay_shop
from tests.support.clock import SettableClock
from tests.support.running import API_KEY, PROJECT

JAPAN = ZoneInfo("Asia/Tokyo")
FIXTURE = json.loads((PROJECT / "tests/data/paypay/recon_files.json").read_text())
INSTANT = base64.b64decode(FIXTURE["instant"]["content_base64"])
NAME = FIXTURE["instant"]["file_name"]


@pytest.fixture
async def shop(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[Shop]:
    async with paypay_shop(database_url, tmp_path, clock) as shop:
        yield shop


async def paid(shop: Shop, key: str, amount_jpy: int) -> str:
    """A user has paid by code: our id of the payment."""
    status, made = await shop.call(
        "POST", f"{API}/codes", {"amount_jpy": amount_jpy, "idempotency_key": key}, key=CLIENT_KEY
    )
    assert status == 202, made
    await shop.settled()
    _, code = await shop.call("GET", f"{API}/codes/{made['payment_id']}", key=CLIENT_KEY)
    await admin(shop, "POST", f"codes/{code['url'].rsplit('/', 1)[1]}/pay", {})
    await shop.passes(4)
    _, shown = await shop.call("GET", f"{API}/payments/{made['payment_id']}", key=CLIENT_KEY)
    assert shown["status"] == "COMPLETED"
    payment_id: str = made["payment_id"]
    return payment_id


async def refunded(shop: Shop, payment_id: str) -> None:
    body = {"reason": "returned", "idempotency_key": f"refund-{payment_id}"}
    status, answer = await shop.call("POST", f"{API}/payments/{payment_id}/refund", body, key=CLIENT_KEY)
    assert status == 202, answer
    await shop.settled()
    await shop.passes(4)


async def admin(shop: Shop, method: str, path: str, body: object) -> Any:
    async with shop.hub.http.request(method, f"{shop.sandbox_url}/admin/{path}", json=body) as response:
        answer = await response.json()
    assert response.status == 200, answer
    return answer


def today(shop: Shop) -> str:
    return shop.clock.now().astimezone(JAPAN).date().isoformat()


async def announced(shop: Shop, path: object, **more: object) -> str:
    """PayPay, or somebody who says so, announces a file: the id of the notice."""
    notice_id = str(more.pop("notification_id", uuid4()))
    body = {"notification_type": "file.created", "notification_id": notice_id, "fileType": "transaction_recon"}
    answer = await shop.notified({**body, "path": path, "requestedAt": "1704160000", **more})
    assert answer == (200, "OK")
    await shop.settled()
    return notice_id


async def files(shop: Shop) -> list[PayPayTransactionFile]:
    async with shop.hub.hub.store.reading() as conn, AsyncSession(bind=conn, expire_on_commit=False) as session:
        found = select(PayPayTransactionFile).order_by(PayPayTransactionFile.received_at, PayPayTransactionFile.id)
        return list((await session.scalars(found)).all())


async def raw_of(shop: Shop, file: PayPayTransactionFile) -> bytes:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with shop.hub.http.get(f"{shop.hub.url}{API}/transaction-files/{file.id}/raw", headers=headers) as response:
        assert response.status == 200
        return await response.read()


async def compared(shop: Shop, *, is_past: bool = True) -> Reconciliation:
    day = shop.clock.now().astimezone(JAPAN).date()
    return await reconcile(shop.hub.hub.api, Days(day, day), is_past=is_past)


def kinds(breaks: Any) -> list[tuple[str, int | None, int | None]]:
    return sorted((one.kind, one.at_paypay_jpy, one.in_books_jpy) for one in breaks)


class Host:
    """Where files come from, on PayPay's own port: what it answers can be chosen."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.content = INSTANT
        self.status = 200
        self.asked = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        headers = {"Location": "https://elsewhere.example/file.csv"} if self.status == 302 else {}
        return web.Response(body=self.content, status=self.status, headers=headers)


async def test_the_day_s_file_is_fetched_kept_read_and_agrees(shop: Shop, tmp_path: Path) -> None:
    moon_cake = await paid(shop, "order-1", 1_200)
    await paid(shop, "order-2", 500)
    await refunded(shop, moon_cake)

    made = await admin(shop, "POST", "files", {"kind": "transaction", "day": today(shop)})
    await announced(shop, made["notice"]["path"])

    [file] = await files(shop)
    assert (file.status, file.row_count, file.break_count, file.last_error) == ("PARSED", 3, 0, None)
    assert (file.found or {})["completed_jpy"] == 1_700
    assert (file.found or {})["refunded_jpy"] == -1_200
    assert (
        file.storage_key
        == f"paypay/transaction_recon/{file.merchant_id}/{today(shop).replace('-', '/')}/{made['name']}"
    )
    kept = tmp_path / "files" / file.storage_key
    assert len(kept.read_bytes()) == made["bytes"] == file.size_bytes

    _, listed = await shop.call("GET", f"{API}/transaction-files?from={today(shop)}&to={today(shop)}")
    assert [one["file_id"] for one in listed["files"]] == [str(file.id)]
    assert listed["files"][0]["status_counts"] == {"COMPLETED": 2, "REFUNDED": 1}
    _, page = await shop.call("GET", f"{API}/transaction-files/{file.id}/rows?page=1")
    assert [row["cells"]["取引金額"] for row in page["rows"]] == ["1200", "500", "-1200"]
    assert (page["pages"], page["problem"]) == (1, None)
    assert await raw_of(shop, file) == kept.read_bytes()

    result = await compared(shop)
    assert kinds(result.breaks) == []
    assert (result.files, result.paid_at_paypay_jpy, result.paid_in_books_jpy) == (1, 1_700, 1_700)
    assert (result.refunded_at_paypay_jpy, result.refunded_in_books_jpy) == (1_200, 1_200)
    assert await shop.reviews() == []
