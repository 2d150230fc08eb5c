"""An intent's QR code as an image, drawn here: a VietQR payload that every Vietnamese banking app reads.

Needs no service of anyone, so that it can be shown where SePay's image link cannot. Source: docs/providers/sepay.md,
"QR".
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from uuid import UUID

import segno
from aiohttp import web
from sqlalchemy import select

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.answering import BASE, described
from handlers.sepay.caller import Callers
from handlers.sepay.http import INTENT_ID, INTENTS
from handlers.sepay.intents import transfer_content
from handlers.sepay.order_codes import OrderCode
from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables import PayPaymentAttempt, PayPaymentIntent
from handlers.sepay.vietqr import BINS, PURPOSE_CHARS_MAX, VietQr
from hub.errors import RefusedCommand

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from hub.api import HubApi

Kind = Literal["svg", "png"]

CONTENT_TYPES: Final[dict[str, str]] = {"svg": "image/svg+xml", "png": "image/png"}
PIXELS_PER_MODULE: Final = 8
QUIET_MODULES: Final = 4
"""The white frame that the QR standard asks for."""


def qr_routes(api: HubApi, callers: Callers | None = None) -> Iterable[web.AbstractRouteDef]:
    """The images of an intent's QR code, for its user alone."""
    images = QrImages(api, callers or Callers(api))
    for kind, draws in (("svg", images.svg), ("png", images.png)):
        image = described(
            draws,
            tag=INTENTS,
            reply=CONTENT_TYPES[kind],
            codes=("intent_not_found", "unknown_bank_code"),
            parameters=(INTENT_ID,),
        )
        yield web.get(f"{BASE}/intent/{{intent_id}}/qr.{kind}", image)


@dataclass(frozen=True, slots=True)
class QrImages:
    """One method per image."""

    api: HubApi
    callers: Callers

    async def svg(self, request: web.Request) -> web.Response:
        """The QR code of an intent as SVG."""
        return await self._image(request, "svg")

    async def png(self, request: web.Request) -> web.Response:
        """The QR code of an intent as PNG."""
        return await self._image(request, "png")

    async def _image(self, request: web.Request, kind: Kind) -> web.Response:
        user = self.callers.user(request)
        settings: SepaySettings = self.api.settings_of("sepay")
        async with self.api.reading() as session:
            payload = await intent_payload(session, user.id, request.match_info["intent_id"], settings)
        # It shows where to send money: only this user's browser may keep it.
        headers = {"Cache-Control": "private, max-age=300", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=draw(payload, kind), content_type=CONTENT_TYPES[kind], headers=headers)


async def intent_payload(session: AsyncSession, user_id: str, intent_id: str, settings: SepaySettings) -> str:
    """The VietQR payload of the user's own intent, for the account that the payer was shown.

    Raises RefusedCommand: intent_not_found, or unknown_bank_code when the bank's number (``bin``) is not known, or its
    word before the code leaves too little room.
    """
    intent = await session.get(PayPaymentIntent, _uuid(intent_id))
    if intent is None or intent.user_id != user_id:
        raise _not_found()
    shown = await session.scalar(
        select(PayPaymentAttempt.account_number)
        .where(PayPaymentAttempt.intent_id == intent.intent_id)
        .order_by(PayPaymentAttempt.created_at.desc())
        .limit(1)
    )
    accounts = settings.receiving
    account = accounts.receiving(shown) or accounts.for_payment(None)
    if account is None:
        raise RefusedCommand("unknown_bank_code", "No receiving account is configured")
    content = account.content_of(transfer_content(OrderCode(intent.order_code), settings))
    if len(content) > PURPOSE_CHARS_MAX:
        raise RefusedCommand(
            "unknown_bank_code", f"The text {content} is too long for a VietQR code: use qr_code_url instead"
        )
    return VietQr(
        bin=_bin(account), account=account.payee_number, amount_minor=intent.amount_minor, purpose=content
    ).payload()


def draw(payload: str, kind: Kind) -> bytes:
    """The payload as a QR code. Error correction M, as SePay's own images have it."""
    out = io.BytesIO()
    segno.make_qr(payload, error="m").save(out, kind=kind, scale=PIXELS_PER_MODULE, border=QUIET_MODULES)
    return out.getvalue()


def _bin(account: ReceivingAccount) -> str:
    number = account.bin or BINS.get(account.qr_bank.upper()) or BINS.get(account.bank_code)
    if number is None:
        raise RefusedCommand(
            "unknown_bank_code", f"The bank {account.qr_bank} has no known number: set bin in SEPAY_ACCOUNTS"
        )
    return number


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise _not_found() from None


def _not_found() -> RefusedCommand:
    return RefusedCommand("intent_not_found", "Payment intent not found")
