"""How the played PayPal delivers: signed, again after a failure, and as badly as it is told to.

Source: https://developer.paypal.com/api/webhooks/ (repeated up to 25 times over three days); docs/providers/paypal.md,
"Sandbox".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, get_args
from uuid import uuid4

import aiohttp.client

from handlers.paypal.authority import Authority
from handlers.paypal.sandbox_book import BookKeeper, Row

SEND_S_MAX: Final = 30.0
DELIVERIES_MAX: Final = 25
REPEAT_FIRST_S, REPEAT_LONGEST_S = 2.0, 6 * 3_600.0
OTHER_WEBHOOK_ID: Final = "9OTHERMERCHANT0001"

Misdelivery = Literal["duplicate", "lost", "forged_first", "other_webhook", "changed", "unsigned", "late"]
MISDELIVERIES: Final[Sequence[str]] = get_args(Misdelivery)
"""duplicate: twice, each its own transmission · lost: never · forged_first: a forged copy comes before it ·
other_webhook: signed for somebody else's · changed: one character after signing · unsigned: without its signature ·
late: after the next one."""


@dataclass(slots=True)
class Postman:
    """Sends events to one hub's webhook. ``speed`` makes the waits between repeats shorter.

    ``keeper`` has the book in which events lie that are to come late.
    """

    authority: Authority
    url: str
    webhook_id: str
    speed: float = 1.0
    keeper: BookKeeper | None = None

    async def deliver(self, body: Row, fault: str | None = None) -> list[int]:
        """Send an event once, or as the fault says; answers with the statuses (0: nobody answered)."""
        if fault == "late":
            self._put_off(body)
            return []
        statuses = await self._deliver(body, fault)
        for waiting in self._late_ones():
            await self._deliver(waiting, None)
        return statuses

    def _put_off(self, body: Row) -> None:
        assert self.keeper is not None, "who delivers late has a book to keep it in"
        with self.keeper.opened() as book:
            book.late.append(body)

    def _late_ones(self) -> list[Row]:
        if self.keeper is None:
            return []
        with self.keeper.opened() as book:
            found, book.late = book.late, []
        return found

    async def _deliver(self, body: Row, fault: str | None) -> list[int]:
        payload = json.dumps(body, ensure_ascii=False).encode()
        headers = self.headers(payload)
        match fault:
            case "lost":
                return []
            case "duplicate":
                return [await self._post(payload, headers), await self._post(payload, self.headers(payload))]
            case "forged_first":
                forged = json.dumps({**body, "summary": "forged"}).encode()
                return [await self._post(forged, self.headers(payload)), await self._post(payload, headers)]
            case "other_webhook":
                return [await self._post(payload, self.headers(payload, OTHER_WEBHOOK_ID))]
            case "changed":
                return [await self._post(payload + b" ", headers)]
            case "unsigned":
                kept = {name: value for name, value in headers.items() if name != "Paypal-Transmission-Sig"}
                return [await self._post(payload, kept)]
            case _:
                return [await self._post(payload, headers)]

    async def deliver_until_taken(self, body: Row, fault: str | None = None) -> list[int]:
        """Send an event as PayPal does: again after anything but a 2xx, up to 25 times."""
        statuses = await self.deliver(body, fault)
        wait_s = REPEAT_FIRST_S
        while fault is None and not 200 <= statuses[-1] < 300 and len(statuses) < DELIVERIES_MAX:
            await asyncio.sleep(wait_s / self.speed)
            wait_s = min(wait_s * 2, REPEAT_LONGEST_S)
            statuses += await self.deliver(body)
        return statuses

    def headers(self, payload: bytes, webhook_id: str = "") -> Mapping[str, str]:
        """The headers of a new transmission."""
        return self.authority.signed_headers(
            payload, webhook_id or self.webhook_id, transmission_id=str(uuid4()), now=datetime.now(UTC)
        )

    async def _post(self, payload: bytes, headers: Mapping[str, str]) -> int:
        timeout = aiohttp.ClientTimeout(total=SEND_S_MAX)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(self.url, data=payload, headers=headers) as response,
            ):
                return response.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0
