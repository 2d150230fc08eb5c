"""The record's third reader: a mail about every event.

Source: RFC 5321, RFC 5322; docs/providers/paypal.md, "The record".
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final, Self, assert_never
from urllib.parse import unquote, urlsplit

import aiosmtplib

from handlers.paypal.proving import harmless
from handlers.paypal.record_words import details, headline
from handlers.paypal.settings import PaypalSettings
from hub.calls.outcome import Declined, Outcome, Pending, Settled, Unknown
from hub.capability import calls
from hub.errors import PermanentError, RetryableError
from schemas.paypal import EventRecorded

if TYPE_CHECKING:
    from hub.deliver.context import Context

SEND_S_MAX: Final = 20.0
PORTS: Final = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails go, read from ``smtp://USER:PASSWORD@HOST:PORT``."""

    host: str
    port: int
    is_tls: bool
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def read(cls, url: str) -> Self:
        """Raises ValueError, without the address: it may hold a password."""
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ValueError("expected smtp://HOST:PORT or smtps://HOST:PORT")
        return cls(
            host=parts.hostname,
            port=parts.port or PORTS[parts.scheme],
            is_tls=parts.scheme == "smtps",
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )


@calls("smtp")
async def send_mail(recorded: EventRecorded, ctx: Context) -> None:
    """Send one mail. After a lost answer it is sent again under the same Message-ID, by which mailboxes know it."""
    settings: PaypalSettings = ctx.settings
    if not settings.smtp_url.get_secret_value():
        ctx.conclude("off")
        return
    try:
        server = MailServer.read(settings.smtp_url.get_secret_value())
    except ValueError as error:
        raise PermanentError(f"HUB_SMTP_URL: {error}") from None

    async def send(request: Mapping[str, Any], key: str) -> Outcome:
        return await deliver_mail(server, mail_of(recorded, settings))

    outcome = await ctx.call("send", send, recorded, lookup=harmless, timeout_s=SEND_S_MAX)
    match outcome:
        case Settled(data={"refused": int(count)}):
            ctx.review("mail_partly_refused", f"the mail server took the mail, but not for {count} of its recipients")
        case Settled():
            ctx.conclude("sent")
        case Declined(reason=reason):
            ctx.review("mail_refused", reason)
        case Pending(reason=reason) | Unknown(reason=reason):
            raise RetryableError(f"the mail may not have been taken: {reason}")
        case _:
            assert_never(outcome)


def mail_of(recorded: EventRecorded, settings: PaypalSettings) -> EmailMessage:
    """The mail: its subject is the headline, its text everything that the record says."""
    mail = EmailMessage()
    # One line always: a header takes no line break, and a sender's text must make no second one.
    mail["Subject"] = " ".join(f"PayPal: {headline(recorded)}".split())
    mail["From"] = settings.mail_from
    mail["To"] = settings.mail_to
    mail["Date"] = format_datetime(recorded.received_at)
    mail["Message-ID"] = f"<{recorded.record_id}@{settings.mail_from.rpartition('@')[2] or 'hub.invalid'}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("".join(f"{name}: {value}\n" for name, value in details(recorded)))
    return mail


async def deliver_mail(server: MailServer, mail: EmailMessage) -> Outcome:
    """Hand it to the mail server. Raises RetryableError where it was surely not taken, and not refused for good."""
    try:
        refused, _ = await aiosmtplib.send(
            mail,
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            use_tls=server.is_tls,
            # The default asks the name service who we are, which may take longer than the mail itself.
            local_hostname=_own_name(),
            timeout=SEND_S_MAX / 2,
        )
    except (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPAuthenticationError) as error:
        raise RetryableError(f"the mail server does not let us in: {type(error).__name__}") from error
    except aiosmtplib.SMTPRecipientsRefused as error:
        codes = [refusal.code for refusal in error.recipients]
        return _refused(max(codes, default=550), "recipients")
    except aiosmtplib.SMTPResponseException as error:
        return _refused(error.code, type(error).__name__)
    except (aiosmtplib.SMTPException, TimeoutError, OSError) as error:
        return Unknown(type(error).__name__)
    return Settled({"refused": len(refused)} if refused else {})


def _own_name() -> str:
    """What this machine calls itself; where that is no name to greet with, the address that RFC 5321 §4.1.3 allows."""
    name = socket.gethostname()
    return name if re.fullmatch(r"[A-Za-z0-9.-]+", name) else "[127.0.0.1]"


def _refused(code: int, what: str) -> Outcome:
    # 4xx is "not now", and nothing was taken.
    if code < 500:
        raise RetryableError(f"the mail server answers {code} ({what})")
    return Declined(f"the mail server answers {code} ({what})")
