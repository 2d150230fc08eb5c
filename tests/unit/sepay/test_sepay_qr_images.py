"""The images of QR codes, over a real socket and a real database, read back module by module."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import uuid4

import pytest
import segno
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.doors import all_routes
from handlers.sepay.qr_images import PIXELS_PER_MODULE, QUIET_MODULES, draw
from handlers.sepay.settings import SepaySettings
from handlers.sepay.vietqr import VietQr
from hub.api import HubApi
from hub.ingress.server import both_slashes
from tests.unit.sepay.bench import USER, ask_for_topup, settle
from tests.unit.sepay.conftest import ACCOUNT, wallet_settings
from tests.unit.sepay.desk import Desk
from tests.unit.sepay.desk_api import DeskApi

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[Client]:
    app = web.Application()
    app.add_routes(both_slashes(all_routes(cast(HubApi, DeskApi(desk)))))
    async with TestClient(TestServer(app)) as client:
        yield client


async def get(client: Client, intent_id: object, kind: str, user: str = USER) -> tuple[int, str, bytes]:
    headers = {"Authorization": f"Bearer {user}"} if user else {}
    async with client.get(f"/api/seapay/intent/{intent_id}/qr.{kind}", headers=headers) as response:
        return response.status, response.content_type, await response.read()


def modules_of(png: bytes) -> list[list[bool]]:
    """Which modules of a PNG with one bit per pixel are dark, without the white frame."""
    width, _, depth, colour = struct.unpack(">IIBB", png[16:26])
    assert (depth, colour) in ((1, 0), (1, 3))
    data, at = b"", 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        data += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    raw, row_bytes = zlib.decompress(data), (width + 7) // 8 + 1
    pixels = []
    above = bytes(row_bytes - 1)
    for start in range(0, len(raw), row_bytes):
        filtered, line = raw[start], raw[start + 1 : start + row_bytes]
        assert filtered in (0, 2)
        above = bytes((a + b) & 255 for a, b in zip(line, above, strict=True)) if filtered == 2 else line
        pixels.append([bool(above[x // 8] >> 7 - x % 8 & 1) for x in range(width)])
    edge = QUIET_MODULES * PIXELS_PER_MODULE
    inner = [row[edge : width - edge : PIXELS_PER_MODULE] for row in pixels[edge : width - edge : PIXELS_PER_MODULE]]
    light = pixels[0][0]
    return [[pixel is not light for pixel in row] for row in inner]


async def test_the_images_show_the_payload_of_the_intent(client: Client, desk: Desk) -> None:
    topup = await ask_for_topup(desk, 100_000)
    payload = VietQr(bin="970418", account="96247TEST1", amount_minor=100_000, purpose=topup.transfer_content).payload()

    svg = await get(client, topup.intent_id, "svg")
    status, content_type, png = await get(client, topup.intent_id, "png/")

    assert svg == (200, "image/svg+xml", draw(payload, "svg"))
    assert (status, content_type) == (200, "image/png")
    expected = [[bool(module) for module in row] for row in segno.make_qr(payload, error="m").matrix]
    assert modules_of(png) == expected


@pytest.mark.parametrize("kind", ["svg", "png"])
async def test_only_its_own_user_sees_the_image(client: Client, desk: Desk, kind: str) -> None:
    topup = await ask_for_topup(desk)

    answers = [
        await get(client, topup.intent_id, kind, user="43"),
        await get(client, topup.intent_id, kind, user=""),
        await get(client, uuid4(), kind),
        await get(client, "nothing", kind),
    ]

    assert [status for status, _, _ in answers] == [404, 401, 404, 404]
    assert all(content_type == "application/json" for _, content_type, _ in answers)


async def test_a_bank_without_a_known_number_is_said(client: Client, desk: Desk) -> None:
    topup = await ask_for_topup(desk)
    account: Any = ReceivingAccount(bank_code="NEW", account_number="8880000001")
    desk.settings = wallet_settings(accounts=(account,))

    status, _, body = await get(client, topup.intent_id, "svg")

    assert status == 400
    assert b"set bin in SEPAY_ACCOUNTS" in body


async def test_an_account_may_want_a_word_before_the_code(client: Client, desk: Desk) -> None:
    desk.settings = wallet_settings(accounts=(ACCOUNT.model_copy(update={"content_prefix": "SEVQR"}),))

    topup = await ask_for_topup(desk)

    assert topup.transfer_content == f"SEVQR {topup.order_code}"
    assert f"des=SEVQR%20{topup.order_code}" in topup.qr_code_url
    # A VietQR code has no room for both.
    status, _, body = await get(client, topup.intent_id, "png")
    assert (status, b"too long" in body) == (400, True)
    assert (await settle(desk, topup.transfer_content)).outcome == "credited"


async def test_images_count_as_requests_of_their_user(client: Client, desk: Desk) -> None:
    desk.settings = wallet_settings(requests_per_minute_max=2)
    topup = await ask_for_topup(desk)

    assert [(await get(client, topup.intent_id, kind))[0] for kind in ("svg", "png", "svg")] == [200, 200, 429]


async def test_a_hub_without_a_receiving_account_warns_when_it_starts(desk: Desk) -> None:
    desk.settings = SepaySettings()

    with capture_logs() as logs:
        list(all_routes(cast(HubApi, DeskApi(desk))))

    assert [line["event"] for line in logs] == ["no_receiving_account"]
