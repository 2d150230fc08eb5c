"""Asking SePay for the bank statement: one request a second, whole windows of time, never a guess that it is empty.

Source: docs/providers/sepay.md, "Reconciliation"; https://developer.sepay.vn/en/sepay-api/v1/gioi-thieu and
/v2/gioi-thieu.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import aiohttp.client

from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.settings import SepaySettings
from handlers.sepay.statement import Page, StatementError, StatementRow, read_page_v1, read_page_v2
from hub.errors import BusyError, RetryableError

ROWS_V1_MAX: Final = 5_000
ROWS_V2_MAX: Final = 100
PAGES_MAX: Final = 1_000
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024
REQUEST_S_MAX: Final = 20.0
PACE_S: Final = 1.0
"""SePay allows three requests a second; one leaves room for others behind the same address."""
RETRY_AFTER_S_MAX: Final = 300.0
ONE_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A time of the bank, both ends included, to the second as banks write it."""

    since: datetime
    until: datetime


@dataclass(slots=True)
class StatementApi:
    """The transaction list of one SePay account, in the version that the settings name."""

    settings: SepaySettings
    pace_s: float = PACE_S
    _asked_at: float = field(default=-1e9, init=False)

    async def rows(self, window: Window) -> list[StatementRow]:
        """Every transfer of this time, in both directions, each once.

        Raises StatementError when SePay refuses or answers with something else, BusyError when it wants to be asked
        later (nothing was read then), RetryableError when it cannot be reached.
        """
        timeout = aiohttp.ClientTimeout(total=REQUEST_S_MAX)
        async with aiohttp.ClientSession(timeout=timeout, headers=self._headers()) as http:
            found = await (
                self._all_v2(http, window) if self.settings.api_version == "2" else self._all_v1(http, window)
            )
        return list({row.id: row for row in found}.values())

    async def _all_v1(self, http: aiohttp.ClientSession, window: Window) -> list[StatementRow]:
        # The list says nothing of its order, so a window with too many rows is asked again as two halves.
        page = await self._page_v1(http, window)
        if not page.has_more:
            return list(page.rows)
        half = window.since + (window.until - window.since) / 2
        half = half.replace(microsecond=0)
        if half >= window.until:
            raise StatementError(f"more than {ROWS_V1_MAX} transfers within one second")
        earlier = await self._all_v1(http, Window(window.since, half))
        return earlier + await self._all_v1(http, Window(half + ONE_SECOND, window.until))

    async def _page_v1(self, http: aiohttp.ClientSession, window: Window) -> Page:
        query = {
            "transaction_date_min": bank_time_text(window.since),
            "transaction_date_max": bank_time_text(window.until),
            "limit": str(ROWS_V1_MAX),
        }
        return read_page_v1(await self._get(http, "/userapi/transactions/list", query), limit=ROWS_V1_MAX)

    async def _all_v2(self, http: aiohttp.ClientSession, window: Window) -> list[StatementRow]:
        query = {
            "transaction_date_from": bank_time_text(window.since),
            "transaction_date_to": bank_time_text(window.until),
            "transaction_date_sort": "asc",
            "per_page": str(ROWS_V2_MAX),
        }
        rows: list[StatementRow] = []
        for number in range(1, PAGES_MAX + 1):
            page = read_page_v2(await self._get(http, "/v2/transactions", {**query, "page": str(number)}))
            rows += page.rows
            if not page.has_more:
                return rows
        raise StatementError(f"more than {PAGES_MAX} pages")

    async def _get(self, http: aiohttp.ClientSession, path: str, query: Mapping[str, str]) -> bytes:
        await self._wait_for_turn()
        try:
            # Never to where a redirect points: the token belongs to the host of the settings alone.
            async with http.get(self.settings.api_url + path, params=query, allow_redirects=False) as response:
                if response.status == 429:
                    raise BusyError("SePay wants to be asked later", delay_s=_delay_s(response.headers))
                if response.status >= 500:
                    raise RetryableError(f"the transaction list answers {response.status}")
                if response.status != 200:
                    raise StatementError(f"the transaction list answers {response.status}")
                return await _bounded(response.content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryableError(f"the transaction list cannot be reached: {type(error).__name__}") from error

    async def _wait_for_turn(self) -> None:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(max(0.0, self._asked_at + self.pace_s - clock()))
        self._asked_at = clock()

    def _headers(self) -> Mapping[str, str]:
        token = self.settings.api_token.get_secret_value()
        return {"Authorization": f"Bearer {token}", "Accept": "application/json"}


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise StatementError("the transaction list is too large")
    return bytes(body)


def _delay_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After") or headers.get("x-sepay-userapi-retry-after") or ""
    return min(max(1.0, float(text)), RETRY_AFTER_S_MAX) if text.isascii() and text.isdigit() else 1.0
