"""The transaction list in both versions: published samples, and what must never pass for an empty statement."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.sepay import statement_api
from handlers.sepay.sandbox_bank import SandboxBank, TransactionList, uuid_of
from handlers.sepay.settings import SepaySettings
from handlers.sepay.settle import settle_transfer
from handlers.sepay.statement import StatementError, is_made, made_id, read_page_v1, read_page_v2
from handlers.sepay.statement_api import StatementApi, Window
from hub.errors import BusyError, ConfigError, RetryableError
from hub.settings import read_settings
from tests.unit.sepay.bench import ask_for_topup, bank_transaction, wallet_balance
from tests.unit.sepay.conftest import wallet_settings
from tests.unit.sepay.desk import Desk

SAMPLES: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data/sepay/transactions_api_samples.json").read_text(encoding="utf-8")
)
DAY = Window(datetime(2024, 11, 14, 17, tzinfo=UTC), datetime(2024, 11, 15, 16, 59, 59, tzinfo=UTC))
TOKEN = "the-token"


def answer_v1(*rows: object, **fields: object) -> bytes:
    return json.dumps({"status": 200, "error": None, "transactions": rows, **fields}).encode()


def test_the_published_page_of_version_1_is_read() -> None:
    page = read_page_v1(json.dumps(SAMPLES["v1"]["response"]).encode(), limit=5_000)

    (row,) = page.rows
    assert not page.has_more
    assert (row.id, row.uuid, row.body["subAccount"]) == (49682, "", "VCB0011ABC004")
    transfer = row.transfer
    assert transfer is not None
    assert (transfer.direction, transfer.amount_minor, transfer.reference) == ("in", 18_067_000, "677760.050523.080001")
    assert (transfer.booked_at, transfer.accumulated_minor) == (
        datetime(2023, 5, 5, 12, 59, 48, tzinfo=UTC),
        1200541768,
    )


def test_the_published_page_of_version_2_is_read() -> None:
    page = read_page_v2(json.dumps(SAMPLES["v2"]["response"]).encode())

    (row,) = page.rows
    assert page.has_more
    assert row.id == made_id(row.uuid)
    assert is_made(row.id)
    assert row.transfer is not None
    assert (row.transfer.amount_minor, row.transfer.sub_account) == (500_000, "VA001")
    assert row.transfer.provider_uuid == "a1b2c3d4-e5f6-7890-abcd-ef1234567890"


@pytest.mark.parametrize(
    "body",
    [
        SAMPLES["v1_auth_failure"]["body"].encode(),
        b" \n",
        b"<html>",
        b"[]",
        b'{"status": 200}',
        b'{"status": 500, "transactions": []}',
        answer_v1(error="no"),
        answer_v1("row"),
        answer_v1({"id": None}),
        answer_v1({"id": True}),
        answer_v1({"id": "0"}),
        answer_v1({"id": "12x"}),
    ],
)
def test_what_is_no_statement_of_version_1_is_refused(body: bytes) -> None:
    with pytest.raises(StatementError):
        read_page_v1(body, limit=10)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"status": "error"}',
        b'{"status": "success", "data": []}',
        b'{"status": "success", "data": [], "meta": {"pagination": {}}}',
        b'{"status": "success", "data": [{"id": "5"}], "meta": {"pagination": {"has_more": false}}}',
    ],
)
def test_what_is_no_statement_of_version_2_is_refused(body: bytes) -> None:
    with pytest.raises(StatementError):
        read_page_v2(body)


@pytest.mark.parametrize(
    "row", [{"amount_in": "1.5"}, {"amount_in": "-5"}, {"amount_in": "x"}, {"transaction_date": "?"}]
)
def test_a_row_that_cannot_be_read_is_kept_to_be_shown(row: dict[str, object]) -> None:
    good = SAMPLES["own_test_rows"]["v1"][0]

    (found,) = read_page_v1(answer_v1({**good, **row}), limit=10).rows

    assert (found.id, found.transfer) == (123456789, None)


@pytest.mark.parametrize("order", [("v1", "webhook", "v2"), ("v2", "webhook", "v1"), ("webhook", "v2", "v1")])
async def test_one_transfer_under_three_names_is_credited_once(desk: Desk, order: tuple[str, ...]) -> None:
    reply = await ask_for_topup(desk)
    rows = {name: dict(SAMPLES["own_test_rows"][name][0]) for name in ("v1", "v2")}
    for row in rows.values():
        row["transaction_content"] = row["code"] = reply.transfer_content
    pages = {
        "v1": read_page_v1(answer_v1(rows["v1"]), limit=10),
        "v2": read_page_v2(
            json.dumps(
                {"status": "success", "data": [rows["v2"]], "meta": {"pagination": {"has_more": False}}}
            ).encode()
        ),
    }
    bodies = {name: page.rows[0].body for name, page in pages.items()}
    bodies["webhook"] = {**bodies["v1"], "accountNumber": "96247TEST1", "subAccount": ""}

    outcomes = []
    for name in order:
        desk.settings = wallet_settings(api_version="2" if name == "v2" else "1")
        outcomes.append((await desk.run(settle_transfer, bodies[name])).outcome)

    assert outcomes == ["credited", "ignored_duplicate", "ignored_duplicate"]
    assert await wallet_balance(desk) == 100_000
    await bank_transaction(desk)


@pytest.fixture
async def list_(tmp_path: Path) -> AsyncIterator[tuple[TransactionList, str]]:
    list_ = TransactionList(SandboxBank(tmp_path / "bank.jsonl"), TOKEN, requests_per_second_max=1_000)
    app = web.Application()
    app.add_routes(list_.routes())
    async with TestServer(app) as server:
        yield list_, str(server.make_url(""))


def api(base: str, version: str, token: str = TOKEN) -> StatementApi:
    settings = SepaySettings.model_validate(
        {"api_base": base, "api_version": version, "api_token": token, "sandbox": True}
    )
    return StatementApi(settings, pace_s=0.0)


def booked(number: int) -> dict[str, object]:
    at = datetime(2024, 11, 15, 9, 0) + timedelta(seconds=number // 3)  # noqa: DTZ001 - the bank's own clock
    return {
        "id": number + 1,
        "transactionDate": at.strftime("%Y-%m-%d %H:%M:%S"),
        "transferType": "in" if number % 5 else "out",
        "transferAmount": 1_000 + number,
        "accountNumber": "8880000001",
    }


@pytest.mark.parametrize("version", ["1", "2"])
async def test_every_transfer_of_a_window_is_read_once(
    list_: tuple[TransactionList, str], version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few rows a page, so that windows are halved and pages are turned.
    monkeypatch.setattr(statement_api, "ROWS_V1_MAX", 10)
    monkeypatch.setattr(statement_api, "ROWS_V2_MAX", 10)
    served, base = list_
    served.bank.book(*(booked(number) for number in range(95)))

    rows = await api(base, version).rows(DAY)

    assert sorted(row.transfer.amount_minor for row in rows if row.transfer) == [1_000 + n for n in range(95)]
    assert {row.uuid for row in rows} == ({""} if version == "1" else {str(uuid_of(n + 1)) for n in range(95)})


async def test_more_within_one_second_than_a_page_holds_is_no_statement(
    list_: tuple[TransactionList, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_api, "ROWS_V1_MAX", 3)
    served, base = list_
    served.bank.book(*(booked(number) for number in range(6)))

    with pytest.raises(StatementError, match="within one second"):
        await api(base, "1").rows(DAY)


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_wrong_token_and_haste_are_told_apart(list_: tuple[TransactionList, str], version: str) -> None:
    served, base = list_

    with pytest.raises(StatementError):
        await api(base, version, token="wrong").rows(DAY)
    served.requests_per_second_max = 0
    with pytest.raises(BusyError) as busy:
        await api(base, version).rows(DAY)

    assert busy.value.delay_s == 1.0


async def test_the_token_follows_no_redirect_and_silence_is_tried_again() -> None:
    seen = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.path)
        raise web.HTTPFound("/stolen")

    app = web.Application()
    app.router.add_get("/{path:.*}", elsewhere)
    async with TestServer(app) as server:
        with pytest.raises(StatementError, match="302"):
            await api(str(server.make_url("")), "1").rows(DAY)
    with pytest.raises(RetryableError):
        await api("http://127.0.0.1:1", "1").rows(DAY)

    assert seen == ["/userapi/transactions/list"]


@pytest.mark.parametrize(
    "base", ["https://evil.example", "http://my.sepay.vn", "https://my.sepay.vn.evil.example", "https://x@evil.example"]
)
def test_the_token_goes_to_sepay_s_hosts_alone(base: str) -> None:
    with pytest.raises(ConfigError, match="the token may only go to"):
        read_settings(SepaySettings, {"SEPAY_API_BASE": base})
    assert read_settings(SepaySettings, {"SEPAY_API_BASE": "https://my.sepay.vn/"}).api_url == "https://my.sepay.vn"
    assert read_settings(SepaySettings, {"SEPAY_API_VERSION": "2"}).api_url == "https://userapi.sepay.vn"
