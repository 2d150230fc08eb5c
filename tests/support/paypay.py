"""PayPay for tests: its stand-in on a free port of this machine, and the settings that lead there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web
from pydantic import SecretStr

from handlers.paypay.sandbox import Options, Sandbox
from handlers.paypay.sandbox_books import YEAR_S, User
from handlers.paypay.sandbox_serving import serving
from handlers.paypay.settings import PayPaySettings

API_KEY = "hub_test_api_key"
API_SECRET = "aHViLXRlc3Qtc2VjcmV0LW5vdC1yZWFsLTAxMjM0NTY3ODk="
MERCHANT = "900000000000000001"
USER = "11111111-2222-3333-4444-555555555555"
OPTIONS = Options(api_key=API_KEY, api_secret=API_SECRET, merchant=MERCHANT, decides_s=0.0, hang_s=0.3, late_s=0.2)


def settings_for(url: str, **more: object) -> PayPaySettings:
    """What a hub is set to that calls the stand-in at this address."""
    given = {"api_key": API_KEY, "api_secret": SecretStr(API_SECRET), "merchant_id": MERCHANT, "base_url": url}
    return PayPaySettings.model_validate({**given, **more})


def variables_for(url: str) -> dict[str, str]:
    """The same as environment variables."""
    return {
        "PAYPAY_API_KEY": API_KEY,
        "PAYPAY_API_SECRET": API_SECRET,
        "PAYPAY_MERCHANT_ID": MERCHANT,
        "PAYPAY_BASE_URL": url,
    }


class OwnTimeSandbox(Sandbox):
    """Judges signatures by the machine's time, which the SDK writes into them, and all the rest by the test's."""

    def _is_proven(self, request: web.Request, path: str, raw: bytes) -> bool:
        clock, self.clock = self.clock, time.time
        try:
            return super()._is_proven(request, path, raw)
        finally:
            self.clock = clock


@asynccontextmanager
async def paypay_sandbox(options: Options = OPTIONS, **changes: object) -> AsyncIterator[tuple[Sandbox, str]]:
    """A stand-in with one user who has agreed to everything, and its address."""
    async with serving(replace(options, **changes)) as (sandbox, url):  # type: ignore[arg-type]
        now = int(sandbox.clock())
        sandbox.books.keep(
            User(
                id=USER,
                reference_id="member-1",
                scopes=["cashback", "direct_debit"],
                issued_at=now,
                expires_at=now + YEAR_S,
                balance_jpy=100_000,
            )
        )
        yield sandbox, url
