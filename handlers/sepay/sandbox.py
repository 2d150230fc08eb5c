"""Plays the bank: builds the webhook that SePay would send for a transfer, and sends it to the hub over HTTP.

The texts are of the kind that real banks make of a transfer content, so that what is tried here is what comes in the
field. Source: docs/providers/sepay.md, "What SePay sends" and "Authentication".
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import aiohttp.client

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.oauth import AUDIENCE
from handlers.sepay.settings import SepaySettings, first_secret
from hub.errors import UsageError
from hub.ingress.tokens import Tokens

SEND_S_MAX: Final = 30.0
"""How long SePay itself waits for an answer."""
REPLY_BYTES_MAX: Final = 4_096


@dataclass(frozen=True, slots=True)
class BankStyle:
    """How transfers through one bank or wallet look: its brand, its content around the code, its reference."""

    gateway: str
    content: str
    reference: str


BANK_STYLES: Final[Mapping[str, BankStyle]] = {
    "bidv": BankStyle("BIDV", "QR - {code}", "00000000-0000-4000-8000-{id:012d}"),
    "vietcombank": BankStyle(
        "Vietcombank", "MBVCB.4530998360.071803.{code}.CT tu 0011000000001 NGUYEN VAN A toi 0011000000002", "FT{id}"
    ),
    "acb": BankStyle("ACB", "IB NGUYEN VAN A chuyen khoan {code} GD 174242-090822 15:45:46", "3516"),
    "mbbank": BankStyle("MBBank", "MB 0900000000 NGUYEN VAN A {code}- Ma GD ACSP/ R7066759", "FT{id}"),
    "momo": BankStyle("MBBank", "118650641631-{code}-CHUYEN TIEN-OQCH0007OziG-MOMO118650641631MOMO", "FT{id}"),
    "vietinbank": BankStyle("VietinBank", "SEVQR {code}", "FT{id}"),
    "lowercase": BankStyle("OCB", "{lower} chuyen tien", "FT{id}"),
}
"""Name → style; the first is the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A transfer to play. ``content`` replaces what the bank's style would make of the code."""

    id: int
    code: str
    amount_minor: int
    booked_at: datetime
    bank: str = "bidv"
    content: str | None = None
    is_out: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub answered to one delivery."""

    status: int
    body: str

    @property
    def is_success(self) -> bool:
        """Whether SePay would count the delivery as successful: 200 or 201 and ``{"success": true}``."""
        try:
            return self.status in (200, 201) and json.loads(self.body).get("success") is True
        except (ValueError, AttributeError):
            return False


def webhook_body(payment: Payment, account: ReceivingAccount) -> bytes:
    """The body of the webhook for this transfer."""
    return json.dumps(webhook_fields(payment, account), ensure_ascii=False).encode()


def webhook_fields(payment: Payment, account: ReceivingAccount) -> dict[str, Any]:
    """What the webhook says of this transfer, in SePay's order of fields."""
    style = BANK_STYLES.get(payment.bank)
    if style is None:
        raise UsageError(f"unknown bank {payment.bank!r}; expected one of {', '.join(BANK_STYLES)}")
    content = payment.content
    if content is None:
        content = style.content.format(code=payment.code, lower=payment.code.lower())
    return {
        "gateway": style.gateway,
        "transactionDate": bank_time_text(payment.booked_at),
        "accountNumber": account.account_number,
        "subAccount": account.va,
        "code": None,
        "content": content,
        "transferType": "out" if payment.is_out else "in",
        "description": f"BankAPINotify {content}",
        "transferAmount": payment.amount_minor,
        "referenceCode": style.reference.format(id=payment.id),
        "accumulated": 0,
        "id": payment.id,
    }


def signed_headers(body: bytes, settings: SepaySettings, now: datetime) -> Mapping[str, str]:
    """The headers with which SePay proves itself, as ``SEPAY_WEBHOOK_AUTH`` says."""
    plain = {"Content-Type": "application/json"}
    if settings.webhook_auth == "none":
        return plain
    if settings.webhook_auth == "oauth2":
        return {**plain, "Authorization": f"Bearer {webhook_token(settings, now)}"}
    secret = first_secret(settings.webhook_api_key if settings.webhook_auth == "apikey" else settings.webhook_secret)
    if not secret:
        name = "SEPAY_WEBHOOK_API_KEY" if settings.webhook_auth == "apikey" else "SEPAY_WEBHOOK_SECRET"
        raise UsageError(f"{name} is not set: the hub would refuse this delivery")
    if settings.webhook_auth == "apikey":
        return {**plain, "Authorization": f"Apikey {secret}"}
    timestamp = str(int(now.timestamp()))
    signature = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {**plain, "X-SePay-Timestamp": timestamp, "X-SePay-Signature": f"sha256={signature}"}


def webhook_token(settings: SepaySettings, now: datetime) -> str:
    """The token that SePay would have fetched. Raises UsageError without a client."""
    secret = first_secret(settings.oauth_client_secret)
    if not secret or not settings.oauth_client_id:
        raise UsageError("SEPAY_OAUTH_CLIENT_ID and SEPAY_OAUTH_CLIENT_SECRET are not set: the hub would refuse this")
    return Tokens(secret=secret, audience=AUDIENCE).issue(settings.oauth_client_id, now)


async def deliver(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send one webhook. Raises UsageError when nobody answers there."""
    try:
        async with (
            asyncio.timeout(SEND_S_MAX),
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers) as response,
        ):
            reply = await response.content.read(REPLY_BYTES_MAX)
            return Answer(response.status, reply.decode("utf-8", "replace"))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise UsageError(f"nobody answers at {url}: is the hub running? ({type(error).__name__})") from error
