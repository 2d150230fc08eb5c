"""The plans that a buyer may choose from: all pages of PayPal's list, kept for a minute.

Source: Subscriptions v1, "List plans"; docs/providers/paypal.md, "Plans".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from handlers.paypal.client import Ask, Call, NoAnswerError
from hub.errors import RetryableError

KEPT_FOR: Final = timedelta(seconds=60)
PAGE_SIZE: Final = 20
PAGES_MAX: Final = 200
ACTIVE: Final = "ACTIVE"


@dataclass(frozen=True, slots=True)
class _Kept:
    plans: tuple[dict[str, Any], ...]
    asked_at: datetime


@dataclass(slots=True)
class Plans:
    """The list as this process knows it. One asks PayPal at a time; the others wait for that answer."""

    _kept: _Kept | None = None
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def listed(
        self, ask: Ask, now: datetime, *, changed_at: datetime | None, is_all: bool
    ) -> list[dict[str, Any]]:
        """The plans, by default those that can be subscribed to; never older than ``changed_at``.

        Raises RetryableError when PayPal cannot be asked now.
        """
        async with self._asking:
            kept = self._kept
            if kept is None or now - kept.asked_at >= KEPT_FOR or (changed_at and changed_at >= kept.asked_at):
                kept = self._kept = _Kept(tuple(await _all(ask)), now)
        return [plan for plan in kept.plans if is_all or plan.get("status") == ACTIVE]


async def _all(ask: Ask) -> list[dict[str, Any]]:
    plans: dict[str, dict[str, Any]] = {}
    for number in range(1, PAGES_MAX + 1):
        rows, pages = await _page(ask, number)
        # A plan that is made meanwhile moves others to the next page.
        plans |= {str(row.get("id")): row for row in rows}
        if number >= pages or not rows:
            return list(plans.values())
    raise RetryableError(f"PayPal lists more than {PAGES_MAX} pages of plans")


async def _page(ask: Ask, number: int) -> tuple[list[dict[str, Any]], int]:
    query = {"page_size": str(PAGE_SIZE), "page": str(number), "total_required": "true"}
    try:
        answer = await ask(Call("GET", "/v1/billing/plans", "list-plans", query=query, prefer="representation"))
    except NoAnswerError as error:
        raise RetryableError(str(error)) from error
    body = answer.body if isinstance(answer.body, Mapping) else {}
    rows, pages = body.get("plans", []), body.get("total_pages", 1)
    if not answer.is_ok or not isinstance(rows, list) or not isinstance(pages, int):
        raise RetryableError(f"PayPal does not list its plans: {answer.status} {answer.issue}")
    return [row for row in rows if isinstance(row, dict)], pages
