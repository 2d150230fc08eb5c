"""Transaction files of PayPay: announced, fetched, kept, read and compared, with whatever can be wrong with them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from aiohttp import web
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from structlog.testing import capture_logs

from handlers.paypay import files as files_module
from handlers.paypay.files import WINDOW
from handlers.paypay.files_address import Allowed
from handlers.paypay.reconciling import Reconciliation, reconcile
from handlers.paypay.tables_files import PayPayTransactionFile
from handlers.paypay.tables_payments import PayPayPayment
from handlers.paypay.witnesses import Days
from hub.errors import RefusedCommand
from hub.store import tables as t
from schemas.paypay_files import FileOrdered
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
    """Where files come from: what it answers can be chosen."""

    def __init__(self) -> None:
        self.url = ""
        self.content = INSTANT
        self.status = 200
        self.asked = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        headers = {"Location": "https://elsewhere.example/file.csv"} if self.status == 302 else {}
        return web.Response(body=self.content, status=self.status, headers=headers)


@pytest.fixture
async def host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    """A host of this machine, which counts as PayPay's own."""
    host = Host()
    app = web.Application()
    app.router.add_get("/{path:.*}", host.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.setattr(files_module, "allowed_by", lambda _settings: Allowed((), own=host.url))
    yield host
    await runner.cleanup()


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


async def test_a_file_is_tried_for_until_it_comes_and_what_it_lists_beyond_the_books_is_told(
    shop: Shop, host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.status = 403
    notice = await announced(shop, f"{host.url}/{NAME}?sig=very-secret")
    [file] = await files(shop)
    assert (file.status, file.attempts, file.last_error) == ("RECEIVED", 1, "the host answers 403")

    host.status = 200
    await shop.passes(5)
    [file] = await files(shop)
    assert (file.status, file.row_count, file.break_count) == ("PARSED", 3, 2)
    assert (tmp_path / "files" / str(file.storage_key)).read_bytes() == INSTANT
    assert await shop.reviews() == ["transaction_file_disagrees"]

    # Announced again it is known; under another address it is fetched again, and no other content takes its place.
    asked = host.asked
    await announced(shop, f"{host.url}/{NAME}?sig=very-secret", notification_id=notice, requestedAt="1704160001")
    assert host.asked == asked
    host.content = INSTANT.replace(b"1200", b"9200")
    await announced(shop, f"{host.url}/{NAME}?sig=other-secret", notification_id=notice)
    [file] = await files(shop)
    assert (file.status, await raw_of(shop, file)) == ("PARSED", INSTANT)
    assert await shop.reviews() == ["transaction_file_changed"]

    assert await compared_on(shop, file) == [("not_in_books", 1_200, None), ("not_in_books", 1_200, None)]
    assert "secret" not in capsys.readouterr().out
    assert "secret" not in "".join(f"{vars(one)}" for one in await files(shop))
    async with shop.hub.hub.store.reading() as conn:
        others = await conn.scalars(select(t.inbox.c.payload).where(t.inbox.c.type != "paypay.notification"))
        assert not [one for one in others if b"secret" in one]


async def test_a_file_that_cannot_be_read_is_kept_and_read_again_when_told(shop: Shop, host: Host) -> None:
    host.content = INSTANT.decode("cp932").encode()
    await announced(shop, f"{host.url}/{NAME}")

    [file] = await files(shop)
    assert file.status == "FAILED"
    assert file.last_error == "line 1, column 1: expected Shift_JIS, found UTF-8: it was re-encoded"
    assert await raw_of(shop, file) == host.content
    _, page = await shop.call("GET", f"{API}/transaction-files/{file.id}/rows")
    assert page["problem"] == file.last_error
    assert await shop.reviews() == ["transaction_file_unreadable"]

    order = FileOrdered(file_id=file.id, by="ann")
    assert await shop.hub.hub.api.command("paypay.file.order", order, key=str(file.id)) == "read"
    await shop.settled()
    assert [one.status for one in await files(shop)] == ["FAILED"]
    assert await shop.reviews() == ["transaction_file_unreadable"]
    assert await compared_on(shop, file) == [("file_unreadable", None, None)]


async def test_addresses_of_strangers_are_refused_and_tell_a_person_once(shop: Shop, host: Host) -> None:
    await announced(shop, "https://127.0.0.1/secrets.csv")
    await announced(shop, "http://169.254.169.254/latest/meta-data")
    await announced(shop, None)
    host.status = 302
    await announced(shop, f"{host.url}/{NAME}")

    # Announced at one instant, they stand in any order.
    refused, followed = sorted(await files(shop), key=lambda file: file.url_host)
    assert (refused.status, followed.status) == ("FAILED", "FAILED")
    assert "not followed" in str(followed.last_error)
    assert host.asked == 1
    assert await shop.reviews() == ["transaction_file_refused"], "anybody can send a notice"
    status, answer = await shop.call("GET", f"{API}/transaction-files/{followed.id}/raw")
    assert (status, answer["error"]) == (409, "NOT_STORED")


async def test_a_file_that_never_comes_expires_and_comes_when_it_is_announced_again(shop: Shop, host: Host) -> None:
    host.status = 503
    notice = await announced(shop, f"{host.url}/{NAME}?sig=1")
    await shop.passes(WINDOW.total_seconds())
    await shop.passes(300)

    [file] = await files(shop)
    assert file.status == "EXPIRED"
    assert await shop.reviews() == ["transaction_file_expired"]
    with pytest.raises(RefusedCommand, match="WINDOW_OVER"):
        await shop.hub.hub.api.command("paypay.file.order", FileOrdered(file_id=file.id, by="ann"), key=str(file.id))

    # Others that never come are listed, and a person is not asked about each. PayPay sends the notice again, as it was.
    await announced(shop, f"{host.url}/other.csv")
    await shop.passes(WINDOW.total_seconds())
    await shop.passes(300)
    assert [file.status for file in await files(shop)] == ["EXPIRED"] * 2
    assert await shop.reviews() == ["transaction_file_expired"] * 2
    host.status = 200
    await announced(shop, f"{host.url}/{NAME}?sig=1", notification_id=notice)
    file = (await files(shop))[0]
    assert (file.status, file.row_count) == ("PARSED", 3)


async def test_what_the_three_witnesses_disagree_on_has_a_name(shop: Shop) -> None:
    kept = await paid(shop, "order-1", 1_200)
    await paid(shop, "order-2", 500)
    assert kinds((await compared(shop)).breaks) == [("file_missing", None, None)]

    made = await admin(shop, "POST", "files", {"kind": "transaction", "day": today(shop)})
    await announced(shop, made["notice"]["path"])
    assert (await compared(shop)).agrees

    # Somebody meddles with our rows: an amount, an id, a word of PayPay's.
    async def meddle(conn: AsyncConnection) -> None:
        await conn.execute(
            update(PayPayPayment)
            .where(PayPayPayment.id == UUID(kept))
            .values(merchant_payment_id="pay-meddled", paypay_status="COMPLETED")
        )

    await shop.hub.hub.store.write(meddle)
    result = await compared(shop)
    assert sorted({one.kind for one in result.breaks}) == [
        "another_id", "not_in_calls", "not_in_file", "said_not_booked"
    ]  # fmt: skip
    assert not result.agrees


async def compared_on(shop: Shop, file: PayPayTransactionFile) -> list[tuple[str, int | None, int | None]]:
    """The breaks of the day that a file is about."""
    assert file.day is not None
    result = await reconcile(shop.hub.hub.api, Days(file.day, file.day))
    return kinds(result.breaks)


async def test_finance_downloads_a_month_and_nobody_else_does(shop: Shop) -> None:
    await shop.member("m-1", purchase=1_000)
    session_id = await shop.linked("m-1", "SP")
    request_id = await shop.exchanged("m-1", session_id, 300)
    await shop.time_flies(until_final=[request_id])
    month = shop.clock.now().astimezone(JAPAN)
    path = "/admin2/ops/finance/point/"
    wanted = f"{path}?year={month.year}&month={month.month}"

    async def get(path: str, key: str) -> tuple[int, str, bytes]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with shop.hub.http.get(shop.hub.url + path, headers=headers) as response:
            return response.status, response.headers.get("Content-Disposition", ""), await response.read()

    with capture_logs() as logs:
        status, name, body = await get(wanted, API_KEY)

    assert status == 200
    assert f"filename*=UTF-8''{quote('ポイントデータ_')}{month.year}" in name
    book = openpyxl.load_workbook(BytesIO(body), data_only=True)
    assert [book["集計"][cell].value for cell in ("A7", "C7", "A8", "C8")] == [300, 150, 0, 0]
    assert book["詳細記録"]["A2"].value == request_id
    assert "finance_report_downloaded" in {line["event"] for line in logs}
    assert (await get(wanted, CLIENT_KEY))[0] == 403
    assert (await get(wanted, ""))[0] == 401
    for wrong in ("year=2026", "year=2026&month=13", "year=x&month=1", "year=99999&month=1"):
        assert (await get(f"{path}?{wrong}", API_KEY))[0] == 400
    status, _, form = await get(path, "")
    assert (status, b'type="password"' in form) == (200, True)
