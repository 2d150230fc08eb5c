"""Being told to slow down: while one client id cools, its other calls wait instead of joining in.

Source: https://developer.paypal.com/api/rest/reference/rate-limiting.md; docs/providers/paypal.md, "Rate limits".
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from prometheus_client import Counter

from hub.errors import BusyError

RATE_LIMITED: Final = "RATE_LIMIT_REACHED"
RETRY_AFTER_S_MAX: Final = 600.0
BACKOFF_S_MAX: Final = 60.0
PACE_WAIT_S_MAX: Final = 5.0
HITS = Counter("paypal_rate_limited_total", "Times that PayPal told us to slow down, by call", ["endpoint"])

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypal")


class PaypalBusyError(BusyError):
    """PayPal wants to be asked later, or has just told another call so: nothing happened there."""

    def __init__(self, *, delay_s: float, is_alone: bool = False) -> None:
        super().__init__(f"PayPal is busy: wait {delay_s:.1f} s", delay_s=delay_s, is_alone=is_alone)


class Cooling:
    """The cool-down of one client id in this process. ``clock`` never goes back.

    ``is_alone``: there are other client ids, which PayPal has told nothing.
    """

    def __init__(
        self, clock: Callable[[], float], chance: Callable[[], float] = random.random, *, is_alone: bool = False
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._is_alone = is_alone
        self._until = 0.0
        self._hits = 0

    def check(self) -> None:
        """Raise PaypalBusyError while it cools."""
        rest_s = self._until - self._clock()
        if rest_s > 0:
            raise PaypalBusyError(delay_s=rest_s, is_alone=self._is_alone)

    def hit(self, endpoint: str, *, headers: Mapping[str, str], debug_id: str) -> PaypalBusyError:
        """PayPal has said 429: begin to cool. Exactly one line and one count for each; answers with what to raise."""
        self._hits += 1
        delay_s = self._delay_s(headers)
        self._until = max(self._until, self._clock() + delay_s)
        HITS.labels(endpoint).inc()
        log.warning(
            "paypal_rate_limited", endpoint=endpoint, debug_id=debug_id, delay_s=round(delay_s, 1), attempt=self._hits
        )
        return PaypalBusyError(delay_s=delay_s, is_alone=self._is_alone)

    def went_well(self) -> None:
        """An answer without 429: the next hit begins with a short wait again."""
        self._hits = 0

    def _delay_s(self, headers: Mapping[str, str]) -> float:
        text = headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdigit() and len(text) < 7:
            return min(max(1.0, float(text)), RETRY_AFTER_S_MAX)
        most = min(BACKOFF_S_MAX, 2.0 ** min(self._hits - 1, 10))
        # At least half of it, so that those who wait do not come back as one.
        return most * (0.5 + self._chance() / 2)


class Pace:
    """At most so many calls a second and so many in flight; who would wait long is told so instead."""

    def __init__(self, clock: Callable[[], float], *, per_second: float, in_flight: int) -> None:
        self._clock = clock
        self._gap_s = 1.0 / per_second
        self._room = asyncio.Semaphore(in_flight)
        self._next_at = 0.0

    async def __aenter__(self) -> None:
        wait_s = self._next_at - self._clock()
        if wait_s > PACE_WAIT_S_MAX or self._room.locked():
            # It is this kind of call that must not be so frequent; PayPal has said nothing.
            raise PaypalBusyError(delay_s=max(wait_s, 1.0), is_alone=True)
        self._next_at = max(self._next_at, self._clock()) + self._gap_s
        await self._room.acquire()
        try:
            await asyncio.sleep(max(0.0, wait_s))
        except BaseException:
            self._room.release()
            raise

    async def __aexit__(self, *error: object) -> None:
        self._room.release()


def is_rate_limit(status: int, body: Any) -> bool:
    """By the status or by the name: the body may be HTML, and the status has been seen to differ."""
    return status == 429 or (isinstance(body, Mapping) and body.get("name") == RATE_LIMITED)
