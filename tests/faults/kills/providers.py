"""PayPay, PayPal and the bank of a run: the capabilities' own stand-ins, alive beside hubs that die; and their mail.

They themselves behave: what goes wrong here are hubs, lines and servers. What they tell goes to whichever hub answers,
until it is thanked.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from uuid import uuid4

import aiohttp

from handlers.paypal.authority import Authority
from handlers.paypal.sandbox_invoicing import InvoicingApi
from handlers.paypal.sandbox_webhooks import Postman
from handlers.paypay.sandbox import Options, Sandbox
from handlers.paypay.sandbox_books import User
from handlers.paypay.sandbox_serving import serving
from tests.faults.invoices import CREDENTIALS, WEBHOOK_ID
from tests.faults.kills.senders import Lines
from tests.faults.scenarios import JWT_SECRET
from tests.simulation.chance import Chance
from tests.simulation.providers import (
    SEPAY_TOKEN,
    MemoryBank,
    PayPayNotices,
    PlayedPayPal,
    listening,
    played_paypal,
    statement_of,
)
from tests.simulation.world import JSON
from tests.support.paypay import API_KEY as PAYPAY_KEY
from tests.support.paypay import API_SECRET, MERCHANT, variables_for

DECIDES_S: Final = 0.3
PAYPAY_TRIES: Final = 4
"""PayPay gives a notification up after three repeats."""
SIGNED_AGAIN_SHARE: Final = 0.2


@dataclass
class Providers:
    """The stand-ins, and what hubs must know to reach them."""

    paypay: Sandbox
    paypal: PlayedPayPal
    bank: MemoryBank
    environ: Mapping[str, str]
    chance: Random
    authority: Authority | None = None
    lines: Lines | None = None
    _mails: set[asyncio.Task[None]] = field(default_factory=set)

    async def agreed(self, link: str, pocket_jpy: int) -> str:
        """A member opens PayPay's page and agrees: the token that they come back with."""
        url = f"{self.environ['PAYPAY_BASE_URL']}/admin/links/{link}"
        async with aiohttp.ClientSession() as http, http.post(url, json={"result": "succeeded"}) as response:
            token: str = (await response.json())["responseToken"]
        for user in self.paypay.books.all(User):
            user.balance_jpy = pocket_jpy
            self.paypay.books.keep(user)
        return token

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def connect(self, lines: Lines, home: Path) -> None:
        """From now on they tell what happens, PayPal with the signature that the hub of this home believes."""
        self.lines, self.authority = lines, Authority.of(home / "sandbox/paypal")

    def mail(self, source: str, path: str, body: Mapping[str, Any], delay_s: float, copies: int) -> None:
        """Tell the hubs something."""
        if self.lines is None:
            return
        data = json.dumps(body, ensure_ascii=False).encode()
        for _ in range(copies):
            task = asyncio.create_task(self._deliver(source, path, data, delay_s))
            self._mails.add(task)
            task.add_done_callback(self._mails.discard)

    async def all_told(self) -> None:
        """Wait until everything has been thanked for, or given up."""
        while self._mails:
            await asyncio.gather(*self._mails)

    async def close(self) -> None:
        """Tell nothing more."""
        for task in self._mails:
            task.cancel()
        await asyncio.gather(*self._mails, return_exceptions=True)

    async def _deliver(self, source: str, path: str, data: bytes, delay_s: float) -> None:
        assert self.lines is not None
        await asyncio.sleep(delay_s)
        if source == "paypal":
            # Sent again it may be another transmission of the same event.
            for _ in range(2 if self.chance.random() < SIGNED_AGAIN_SHARE else 1):
                await self.lines.deliver(source, path, data, self._signed(data), [data])
        else:
            await self.lines.deliver(source, path, data, JSON, [data], tries_max=PAYPAY_TRIES)

    def _signed(self, data: bytes) -> dict[str, str]:
        assert self.authority is not None
        signed = self.authority.signed_headers(data, WEBHOOK_ID, transmission_id=str(uuid4()), now=self.now)
        return {**JSON, **signed}


@asynccontextmanager
async def played(seed: int) -> AsyncIterator[Providers]:
    """All three, listening on ports of their own."""
    options = Options(
        api_key=PAYPAY_KEY, api_secret=API_SECRET, merchant=MERCHANT, hang_s=0.3, late_s=1.0, decides_s=DECIDES_S,
        seed=seed,
    )  # fmt: skip
    chance = Random(f"providers {seed}")
    # Filled in once the hubs have homes.
    nobody: Any = None
    clock: Any = SimpleNamespace(world_now=datetime.now(UTC))
    calm: Any = SimpleNamespace(provider=0.0)
    paypal = played_paypal(
        Postman(nobody, "", WEBHOOK_ID), Chance(seed), calm, clock, lambda *_: None,
        client_id=CREDENTIALS["HUB_PAYPAL_CLIENT_ID"], secret=CREDENTIALS["HUB_PAYPAL_SECRET"],
    )  # fmt: skip
    paypal.clock = _Clock()  # type: ignore[assignment]
    bank = MemoryBank()
    paypal_server, paypal_url = await listening([*paypal.routes(), *InvoicingApi(paypal).routes()])
    bank_server, bank_url = await listening(list(statement_of(bank).routes()))
    try:
        async with serving(options) as (paypay, paypay_url):
            environ = {
                **CREDENTIALS,
                **variables_for(paypay_url),
                "HUB_JWT_SECRET": JWT_SECRET,
                "HUB_PAYPAL_BASE_URL": paypal_url,
                "PAYPAY_RATE_PER_S": "1000",
                "PAYPAY_HINTS_PER_S": "1000",
                "PAYPAY_WEBHOOKS_PER_MINUTE": "1000000",
                "SEPAY_API_BASE": bank_url,
                "SEPAY_API_TOKEN": SEPAY_TOKEN,
                "SEPAY_INTENTS_PER_MINUTE_MAX": "0",
                "SEPAY_REQUESTS_PER_MINUTE_MAX": "0",
            }
            made = Providers(paypay, paypal, bank, environ, chance)
            paypal.mail = made.mail
            notices: Any = PayPayNotices(made.mail)
            paypay.notices = notices
            notices.close = made.close
            yield made
    finally:
        await paypal_server.cleanup()
        await bank_server.cleanup()


class _Clock:
    """The machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)
