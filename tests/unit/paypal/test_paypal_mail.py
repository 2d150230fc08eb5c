"""The mail about an event, at a mail server that takes it for some, for none, or not now."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP

from handlers.paypal.record_mail import MailServer, deliver_mail, mail_of
from handlers.paypal.settings import PaypalSettings
from hub.calls.outcome import Declined, Settled
from hub.errors import RetryableError
from schemas.paypal import EventRecorded

RECORDED = EventRecorded(
    record_id="r1",
    webhook_event_id=UUID(int=1),
    event_type="PAYMENT.SALE.COMPLETED\r\nBcc: everybody@example.com",
    verdict="invalid",
    reason="forged",
    outcome="refused",
    received_at=datetime(2026, 3, 1, tzinfo=UTC),
    trace_id="t",
)


class Server:
    """Says about each recipient what ``answers`` has for him."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.greeted = ""

    async def handle_EHLO(self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]) -> Any:
        self.greeted = session.host_name = hostname
        return responses

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 taken"


@pytest.fixture
async def mail_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, MailServer]]:
    monkeypatch.setattr(socket, "getfqdn", pytest.fail)
    monkeypatch.setattr(socket, "gethostname", lambda: "host with spaces")
    server = Server()
    listening = await asyncio.get_running_loop().create_server(lambda: SMTP(server, hostname="x"), "127.0.0.1", 0)
    async with listening:
        yield server, MailServer.read(f"smtp://127.0.0.1:{listening.sockets[0].getsockname()[1]}")


async def test_a_mail_is_sent_refused_by_some_or_by_all_and_never_asks_the_name_service(
    mail_server: tuple[Server, MailServer],
) -> None:
    server, there = mail_server
    mail = mail_of(
        RECORDED, PaypalSettings.model_construct(mail_from="hub@a.example", mail_to="b@c.example, d@e.example")
    )

    assert await deliver_mail(there, mail) == Settled()
    assert server.greeted == "[127.0.0.1]"
    server.answers = {"b@c.example": "550 no such user"}
    assert await deliver_mail(there, mail) == Settled({"refused": 1})
    server.answers["d@e.example"] = "550 no such user"
    assert await deliver_mail(there, mail) == Declined("the mail server answers 550 (recipients)")
    server.answers["b@c.example"] = server.answers["d@e.example"] = "451 later"
    with pytest.raises(RetryableError, match="451"):
        await deliver_mail(there, mail)


def test_a_sender_s_text_makes_no_header() -> None:
    mail = mail_of(RECORDED, PaypalSettings.model_construct(mail_from="hub@a.example", mail_to="b@c.example"))

    assert mail["Bcc"] is None
    assert "Bcc: everybody" in mail["Subject"]
