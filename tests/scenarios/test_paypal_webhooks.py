"""PayPal's webhook at a running hub: who is believed, what a forger can do, and who hears of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiosmtpd.smtp import SMTP

from handlers.paypal.tables import PaypalCertificate
from hub.operate.reading import TodaysRules
from hub.operate.replay import replay
from hub.store import tables as t
from tests.scenarios.paypal import (
    ERROR_QUEUE,
    OTHER_WEBHOOK_ID,
    VERIFIED_QUEUE,
    Paypal,
    fixture,
    playing,
)
from tests.support.clock import SettableClock
from tests.support.running import until

HOUR_S = 3_600.0
SLACK = "tell-slack-of-paypal-event"


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(datetime(2026, 3, 1, 10, tzinfo=UTC))


@pytest.fixture
async def paypal(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[Paypal]:
    async with playing(tmp_path, database_url, clock) as paypal:
        yield paypal


async def test_a_genuine_event_is_proven_passed_on_and_recorded_once(paypal: Paypal) -> None:
    body = fixture()
    lower = {name.lower(): value for name, value in paypal.signed(body).items()}

    statuses = [
        await paypal.deliver(body),
        await paypal.deliver(body, lower, path="/webhook/receiver/"),
        await paypal.deliver(body, lower),
    ]

    assert statuses == [200] * 3
    await paypal.settled()
    assert sorted(await paypal.proofs()) == ["duplicate", "valid"]
    (verified,) = await paypal.messages(VERIFIED_QUEUE)
    assert verified["event"] == json.loads(body)
    (record,) = await paypal.records(1)
    assert (record.event_type, record.verdict, record.amount_minor, record.currency, record.custom_id) == (
        *("PAYMENT.SALE.COMPLETED", "valid", 500, "USD", "17"),
    )
    await until(lambda: paypal.outcomes("mail-paypal-event"))
    await paypal.settled()
    assert await paypal.outcomes("mail-paypal-event") == [("done", "off")]

    # Read back it has more around it and is the same; with another amount it is for a person, whoever signed it.
    await paypal.deliver(json.dumps({**json.loads(body), "status": "SUCCESS", "links": []}).encode())
    await paypal.settled()
    await paypal.deliver(body.replace(b'"5.00"', b'"6.00"'))
    await paypal.settled()
    assert sorted(await paypal.proofs()) == ["conflict", "duplicate", "duplicate", "valid"]
    assert [row.outcome for row in await paypal.running.rows(t.reviews)] == ["conflict"]
    assert len(await paypal.messages(VERIFIED_QUEUE)) == 1
    # Kept, so that a restart needs no fetch.
    assert len(await paypal.entities(PaypalCertificate)) == 1
    (event,) = [row for row in await paypal.running.rows(t.inbox) if row.type == "paypal.webhook.verified"]
    assert event.key == "I-E8W6NNUG630J"


async def test_a_forged_copy_that_comes_first_takes_nothing_from_the_genuine_event(paypal: Paypal) -> None:
    body = fixture()
    headers = paypal.signed(body)
    forged = body.replace(b'"5.00"', b'"5000"')
    forgeries = [
        (forged, headers),
        (forged, paypal.signed(forged, webhook_id=OTHER_WEBHOOK_ID)),
        (body, {**headers, "Paypal-Transmission-Sig": "AAAA"}),
        (body, {**headers, "Paypal-Transmission-Id": "another"}),
        (body, {**headers, "Paypal-Auth-Algo": "SHA1withRSA"}),
        (body, {**headers, "Paypal-Cert-Url": "https://api.sandbox.paypal.com.evil.example/v1/notifications/certs/A"}),
        (b"not JSON", paypal.signed(b"not JSON")),
        (b"[]", paypal.signed(b"[]")),
    ]

    for sent, its_headers in forgeries:
        assert await paypal.deliver(sent, its_headers) == 200
    assert await paypal.deliver(body, headers) == 200

    await paypal.settled()
    assert await paypal.outcomes("verify-paypal-webhook") == [("refused", "invalid")] * 8 + [("done", "valid")]
    assert len(await paypal.messages(VERIFIED_QUEUE)) == 1
    told = await paypal.messages(ERROR_QUEUE)
    assert sorted(one["body"] for one in told) == sorted(sent.decode() for sent, _ in forgeries)
    assert all(one["headers"]["paypal-transmission-sig"] for one in told)
    records = await paypal.records(9)
    assert sorted(one.verdict for one in records) == ["invalid"] * 8 + ["valid"]
    assert {one.outcome for one in records if one.verdict == "invalid"} == {"refused"}


async def test_what_could_never_be_proven_is_not_even_stored(paypal: Paypal) -> None:
    body = fixture()
    headers = paypal.signed(body)
    without = {name: value for name, value in headers.items() if name != "Paypal-Transmission-Sig"}
    empty = {**headers, "Paypal-Cert-Url": ""}

    statuses = [
        await paypal.deliver(body, without),
        await paypal.deliver(body, empty),
        await paypal.deliver(b"", paypal.signed(b"")),
        await paypal.deliver(BytesIO(b"x" * 1_048_577), headers),
    ]

    assert statuses == [400, 400, 400, 413]
    assert await paypal.running.rows(t.inbox) == []


async def test_what_cannot_be_decided_waits_three_days_and_is_refused_then(
    paypal: Paypal, clock: SettableClock
) -> None:
    body = fixture()

    async def is_tried(times: int) -> bool:
        steps = [row for row in await paypal.running.rows(t.calls) if row.step == "certificate"]
        return len(steps) >= times and steps[-1].state != "started"

    # A good address whose certificate nobody has; the API cannot be reached either.
    unknown = {"Paypal-Cert-Url": "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-NOBODY-HAS"}
    await paypal.deliver(body, {**paypal.signed(body), **unknown})
    await paypal.settled()
    assert await paypal.outcomes("verify-paypal-webhook") == [("deferred", None)]

    # What comes behind it is not held up.
    await paypal.deliver(body)
    await paypal.settled()
    assert (await paypal.outcomes("verify-paypal-webhook"))[1] == ("done", "valid")

    clock.advance(71 * HOUR_S)
    await until(lambda: is_tried(2))
    assert (await paypal.outcomes("verify-paypal-webhook"))[0] == ("deferred", None)
    clock.advance(2 * HOUR_S)
    await until(lambda: paypal.messages(ERROR_QUEUE))
    assert (await paypal.outcomes("verify-paypal-webhook"))[0] == ("refused", "verification_unavailable")
    (told,) = await paypal.messages(ERROR_QUEUE)
    assert told["verdict"] == "undecided"


async def test_what_was_refused_for_a_wrong_setting_is_proven_by_a_replay(
    database_url: str, tmp_path: Path, clock: SettableClock
) -> None:
    body = fixture()
    async with playing(tmp_path, database_url, clock, HUB_PAYPAL_WEBHOOK_ID="wrong") as paypal:
        await paypal.deliver(body, paypal.signed(body))
        await paypal.settled()
        assert await paypal.outcomes("verify-paypal-webhook") == [("refused", "invalid")]
        (refused,) = [row for row in await paypal.running.rows(t.inbox) if row.source == "paypal"]
        await paypal.records(1)

    async with playing(tmp_path, database_url, clock) as paypal:
        hub = paypal.running.hub
        rules = TodaysRules(hub.wiring.drafter, hub.rules.route_ids)
        await replay(hub.store, clock, [str(refused.id)], rules, apply=True, actor="test")

        await paypal.records(2)
        assert await paypal.outcomes("verify-paypal-webhook") == [("done", "valid")]
        assert len(await paypal.messages(VERIFIED_QUEUE)) == 1


@pytest.fixture
def no_name_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that no name service knows: to ask it takes its time, and gives nothing."""

    def ask(name: str = "") -> str:
        raise AssertionError("the name service was asked who we are")

    monkeypatch.setattr(socket, "getfqdn", ask)


@pytest.mark.usefixtures("no_name_service")
async def test_slack_and_mail_each_hear_of_an_event_though_the_other_fails(
    database_url: str, tmp_path: Path, clock: SettableClock
) -> None:
    posted: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        posted.append(await request.json())
        return web.Response(status=500 if len(posted) == 1 else 200)

    app = web.Application()
    app.add_routes([web.post("/hook", take)])
    mails = Mails()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mails, hostname="localhost"), "127.0.0.1", 0)
    async with TestServer(app) as slack, server:
        more = {
            "HUB_SLACK_WEBHOOK_URL": str(slack.make_url("/hook")),
            "HUB_SMTP_URL": f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}",
            "HUB_MAIL_FROM": "hub@shop.example",
            "HUB_MAIL_TO": "desk@shop.example, boss@shop.example",
        }
        async with playing(tmp_path, database_url, clock, **more) as paypal:
            await paypal.deliver(fixture())
            await paypal.records(1)

            async def are_told() -> bool:
                # Slack did not say whether it has it, and a slow machine's mail server may not either: told again.
                await paypal.step(clock)
                outcomes = [*await paypal.outcomes("mail-paypal-event"), *await paypal.outcomes(SLACK)]
                return outcomes == [("done", "sent"), ("done", "told")]

            await until(are_told, deadline_s=120)
            assert len(posted) >= 2
            await paypal.settled()
            (record,) = await paypal.records(1)
    assert "PAYMENT.SALE.COMPLETED · 5.00 USD · payment_settled" in posted[0]["text"]
    # Sent again it is the same mail, which mailboxes know by its id.
    assert len({mail["Message-ID"] for mail in mails.taken}) == 1
    mail = mails.taken[0]
    assert mail["Subject"] == "PayPal: PAYMENT.SALE.COMPLETED · 5.00 USD · payment_settled"
    assert (mail["To"], mail["Message-ID"]) == (more["HUB_MAIL_TO"], f"<{record.record_id}@shop.example>")
    assert "custom id: 17" in mail.get_content()


class Mails:
    """A mail server's mind: takes everything, and keeps it."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        mail = message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        self.taken.append(mail)
        return "250 taken"
