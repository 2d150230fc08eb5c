"""PayPay's stand-in over HTTP: whom it believes, what it remembers, what it tells, and how it misbehaves."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from handlers.paypay.client import PayPay
from handlers.paypay.outcomes import Facts, Settled, Unknown
from handlers.paypay.sandbox_books import Books, Cashback, User
from handlers.paypay.sandbox_faults import ALL, FAULTS, NOTICES, Faults, chances_of
from handlers.paypay.sandbox_notices import CALLBACK_PATH, WEBHOOK_PATH
from handlers.paypay.sandbox_serving import embedded_routes
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tokens import read_token
from handlers.paypay.wire import CreateCode, LinkAccount, ReadCashback
from hub.errors import UsageError
from tests.support.paypay import API_SECRET, MERCHANT, OPTIONS, USER, paypay_sandbox, settings_for
from tests.unit.paypay.test_paypay_client import NOW, gift, payment, until

if TYPE_CHECKING:
    from hub.api import HubApi

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data/paypay/opa_auth_vectors.json").read_text())
BY_NAME = {vector["name"]: vector for vector in VECTORS["vectors"]}
CASES: list[dict[str, Any]] = [
    *({"name": name, "base_vector": name, "change": {}, "expect": {"http_status": 0}} for name in BY_NAME),
    *VECTORS["accept_cases"],
    *VECTORS["reject_cases"],
]


async def sent(http: aiohttp.ClientSession, url: str, case: Mapping[str, Any]) -> tuple[int, Any]:
    """The answer to a vector's request, sent byte for byte."""
    vector = BY_NAME[case["base_vector"]] | case["change"]
    header = case["change"].get("authorization", BY_NAME[case["base_vector"]]["expect"]["authorization"])
    content_type = vector["content_type_on_wire"]
    headers = {"Content-Type": content_type} if content_type else {}
    headers |= {"Authorization": header} if header else {}
    query = "?" + "&".join(f"{name}={value}" for name, value in (vector["query"] or {}).items())
    async with http.request(
        vector["method"],
        URL(f"{url}{vector['path']}{query}", encoded=True),
        data=(vector["body"] or "").encode() or None,
        headers=headers,
        skip_auto_headers=["Content-Type"],
    ) as response:
        return response.status, await response.json()


async def test_every_vector_is_judged_over_http_byte_for_byte() -> None:
    for case in CASES:
        vector = BY_NAME[case["base_vector"]]
        server_epoch = case["change"].get("server_epoch", vector["epoch"])
        options = {"api_key": vector["api_key"], "api_secret": vector["api_secret"]}
        async with (
            paypay_sandbox(prefix="/sandbox/paypay", **options) as (sandbox, url),
            aiohttp.ClientSession() as http,
        ):
            sandbox.clock = lambda at=server_epoch: at  # type: ignore[misc]
            status, answer = await sent(http, url, case)

        if case["expect"]["http_status"] == 401:
            assert (status, answer["resultInfo"]["codeId"], answer["data"]) == (401, "08100016", None), case["name"]
        else:
            assert answer["resultInfo"]["code"] != "UNAUTHORIZED", case["name"]


async def test_a_nonce_counts_once_where_that_is_asked_for() -> None:
    vector = BY_NAME["give_cashback"]
    case = {"base_vector": "give_cashback", "change": {}}
    for strict, expected in ((False, [202, 400]), (True, [202, 401])):
        async with paypay_sandbox(strict_nonce=strict) as (sandbox, url), aiohttp.ClientSession() as http:
            sandbox.clock = lambda: vector["epoch"]
            sandbox.books.keep(User(USER, "member-1", ["cashback"], 0, vector["epoch"] + 1))

            assert [(await sent(http, url, case))[0] for _ in range(2)] == expected


async def test_a_user_logs_in_and_the_shop_gets_a_token_that_holds() -> None:
    async with hub_standing_in() as (hub_url, told), paypay_sandbox(hub_url=hub_url) as (sandbox, url):
        client, link = PayPay(settings_for(url)), LinkAccount(
            nonce="nonce-1", redirect_url="https://shop.example.test/back?a=1", reference_id="member-1"
        )  # fmt: skip
        address = Facts.of(await client.link_account(link)).data["linkQRCodeURL"]
        async with aiohttp.ClientSession() as http:
            page = await (await http.get(address)).text()
            async with http.post(address + "/succeeded", allow_redirects=False) as response:
                back = urlsplit(response.headers["Location"])
            async with http.post(address + "/succeeded") as response:
                assert response.status == 404
        token = read_token(parse_qs(back.query)["responseToken"][0], settings_for(url))
        await until(lambda: bool(told))
        client.close()

    assert "Agree" in page
    assert (token.result, token.nonce, token.reference_id) == ("succeeded", "nonce-1", "member-1")
    assert sandbox.books.find(User, str(token.user_authorization_id)) is not None
    ((path, notice),) = told
    assert (path, notice["notification_type"]) == (WEBHOOK_PATH, "customer.authroization.succeeded")


async def test_the_result_of_a_gift_is_notified_as_its_luck_will_have_it() -> None:
    expected = {
        "": ["SUCCESS"],
        "notice-lost": [],
        "notice-duplicate": ["SUCCESS"] * 3,
        "notice-late": ["SUCCESS"],
        "notice-early": ["SUCCESS"],
        "notice-contradictory": ["FAILURE"],
    }
    assert set(expected) - {""} == set(NOTICES)
    async with hub_standing_in() as (hub_url, told), paypay_sandbox(hub_url=hub_url) as (sandbox, url):
        client = PayPay(settings_for(url))
        for name in expected:
            if name:
                sandbox.faults.order(name, times=1)
            await client.give_cashback(gift(f"cb-{name}"), "")
        await until(lambda: len(told) == sum(len(said) for said in expected.values()))
        client.close()

    assert {path for path, _ in told} == {CALLBACK_PATH}
    for name, said in expected.items():
        assert [body["status"] for _, body in told if body["merchantCashbackId"] == f"cb-{name}"] == said, name


async def test_a_notification_that_nobody_thanks_comes_four_times() -> None:
    async with hub_standing_in(status=500) as (hub_url, told), paypay_sandbox(hub_url=hub_url) as (_, url):
        client = PayPay(settings_for(url))
        await client.give_cashback(gift(), "")
        await until(lambda: len(told) == 4)
        client.close()


async def test_the_campaign_wallet_and_the_users_balance_have_an_end() -> None:
    async with paypay_sandbox(wallet_jpy=100) as (sandbox, url):
        client = PayPay(settings_for(url))
        await client.give_cashback(gift("cb-1", 100), "")
        await client.give_cashback(gift("cb-2", 1), "")
        short = await client.read_cashback(ReadCashback(merchant_cashback_id="cb-2"), "")
        client.close()

    assert Facts.of(short).code == "NOT_ENOUGH_MONEY"
    assert sandbox.cashbacks.granted_jpy == 100


async def test_the_books_outlive_the_sandbox_and_a_torn_line(tmp_path: Path) -> None:
    file = tmp_path / "paypay.jsonl"
    async with paypay_sandbox(file=file) as (_, url):
        client = PayPay(settings_for(url))
        await client.give_cashback(gift(), "")
        client.close()
    with file.open("a") as torn:
        torn.write('{"kind": "Cashback", "id"')

    books = Books(file)

    assert [(one.id, one.amount_jpy) for one in books.all(Cashback)] == [("cb-1", 50)]
    assert [user.balance_jpy for user in books.all(User)] == [100_050]


async def test_an_admin_orders_faults_pays_codes_and_reads_the_books() -> None:
    async with paypay_sandbox() as (_, url), aiohttp.ClientSession() as http:
        client = PayPay(settings_for(url))
        order = {"fault": "reset-after-commit", "times": 1, "path": "/v2/cashback"}
        await answer_of(http, "POST", f"{url}/admin/faults", order)
        code = await client.create_code(CreateCode(merchant_payment_id="pay-1", amount_jpy=5, requested_at=NOW), "")
        lost = await client.give_cashback(gift(), "")
        paid = await answer_of(http, "POST", f"{url}/admin/codes/{Facts.of(code).data['codeId']}/pay")
        twice = await answer_of(http, "POST", f"{url}/admin/codes/{Facts.of(code).data['codeId']}/pay")
        unknown = await answer_of(http, "POST", f"{url}/admin/faults", {"fault": "nonsense"})
        books = await answer_of(http, "GET", f"{url}/admin/books")
        faults = await answer_of(http, "DELETE", f"{url}/admin/faults")
        client.close()

    assert isinstance(code, Settled)
    assert isinstance(lost, Unknown)
    assert paid["status"] == "COMPLETED"
    assert twice == {"error": "paid_code"}
    assert "nonsense" in unknown["error"]
    assert (books["granted_jpy"], books["cashbacks"][0]["status"], books["payments"][0]["id"]) == (
        50,
        "SUCCESS",
        "pay-1",
    )
    assert (faults["orders"], faults["happened"]) == ([], {"reset-after-commit": 1})


async def test_a_days_file_is_made_notified_and_fetched_as_paypay_writes_it() -> None:
    async with hub_standing_in() as (hub_url, told), paypay_sandbox(hub_url=hub_url) as (_, url):
        client = PayPay(settings_for(url))
        await client.create_payment(payment(), "")
        async with aiohttp.ClientSession() as http:
            made = await answer_of(http, "POST", f"{url}/admin/files", {"kind": "transaction"})
            raw = await (await http.get(made["notice"]["path"])).read()
            async with http.get(made["notice"]["path"].partition("?")[0]) as response:
                assert response.status == 404
        await until(lambda: any(body["notification_type"] == "file.created" for _, body in told))
        client.close()

    header, *rows = raw.decode("shift_jis").strip().split("\n")
    assert re.fullmatch(rf"transaction_{MERCHANT}_\d{{8}}000000_\d{{8}}235959_v2\.csv", made["name"])
    assert header.startswith("決済番号,加盟店ID,屋号")
    (row,) = [row.split(",") for row in rows]
    assert (row[1], row[6], row[8], row[11]) == (MERCHANT, "取引完了", "1200", "pay-1")


def test_chances_are_read_and_the_same_seed_meets_the_same_faults() -> None:
    chances = chances_of(["all=0.2", "busy-429=1"])
    assert chances == {ALL: 0.2, "busy-429": 1.0}
    for wrong in ("busy-429=2", "nonsense=0.1", "busy-429=x"):
        with pytest.raises(UsageError):
            chances_of([wrong])

    lucks = [[Faults({ALL: 0.5}, 7).of(f"/{n}", is_read=n % 2 == 0) for n in range(50)] for _ in range(2)]
    many = Faults({ALL: 0.2}, 7)
    happened = [many.of("/v2/cashback", is_read=False).answer for _ in range(2_000)]
    assert lucks[0] == lucks[1]
    assert 300 < sum(1 for fault in happened if fault) < 500
    assert len(FAULTS) == len({*FAULTS})


def test_the_hub_plays_paypay_only_where_no_real_key_is_set(tmp_path: Path) -> None:
    class Api:
        settings = SimpleNamespace(home=tmp_path)

        def __init__(self, **given: object) -> None:
            secret = {"api_secret": API_SECRET, "sandbox": True}
            self.given = PayPaySettings.model_validate({**secret, **given})

        def settings_of(self, _name: str) -> PayPaySettings:
            return self.given

    def is_served(**given: object) -> bool:
        return bool(list(embedded_routes(cast("HubApi", Api(**given)))))

    assert is_served()
    assert not is_served(sandbox=False)
    assert not is_served(api_key="a-real-key")
    assert not is_served(base_url="http://127.0.0.1:8090")


async def test_a_sandbox_without_a_secret_believes_nobody() -> None:
    async with paypay_sandbox(replace(OPTIONS, api_secret="")) as (sandbox, url), aiohttp.ClientSession() as http:
        status, _ = await sent(http, url, {"base_vector": "give_cashback", "change": {}})

    assert (status, sandbox.refused) == (401, 1)


async def answer_of(http: aiohttp.ClientSession, method: str, url: str, body: object = None) -> Any:
    async with http.request(method, url, json=body or {}) as response:
        return await response.json()


@asynccontextmanager
async def hub_standing_in(status: int = 200) -> AsyncIterator[tuple[str, list[tuple[str, Any]]]]:
    """Somebody to be notified, and what they were told."""
    told: list[tuple[str, Any]] = []

    async def hear(request: web.Request) -> web.Response:
        told.append((request.path, await request.json()))
        return web.Response(status=status, text="OK")

    app = web.Application()
    app.add_routes([web.post("/{tail:.*}", hear)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", told
    finally:
        await runner.cleanup()
