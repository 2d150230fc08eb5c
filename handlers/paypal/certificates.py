"""Certificates that were fetched: kept a day, kept on while PayPal cannot be reached, never past their own end.

The sender chooses the address, so everything here is bounded: how many are kept, how often one is fetched, how large an
answer may be. Source: docs/providers/paypal.md, "The certificate's address".
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import aiohttp.client

from handlers.paypal.trust import UnknownIssuerError, read_certificates
from hub.errors import HubError

FRESH: Final = timedelta(hours=24)
"""PayPal's own answer says max-age=86400."""
RENEWED_AFTER: Final = timedelta(minutes=5)
"""A signature that does not fit a certificate older than this is tried once more with one that is fetched anew."""
FAILURE_KEPT: Final = timedelta(seconds=30)
URLS_MAX: Final = 50
FAILURES_MAX: Final = 1_000
FETCHES_PER_MINUTE_MAX: Final = 10
FETCH_S_MAX: Final = 5.0
PEM_BYTES_MAX: Final = 65_536

Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]


class CertificateUnavailableError(HubError):
    """The certificate cannot be had now; the text says why."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer of a certificate's address that holds certificates, and when it was fetched."""

    pem: bytes = field(repr=False)
    fetched_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        return now - self.fetched_at < FRESH

    def is_usable(self, now: datetime) -> bool:
        """Whether it may still stand in while no newer one can be had."""
        return now <= min(one.not_valid_after_utc for one in read_certificates(self.pem)[:1])


class Certificates:
    """What this process knows. One fetch per address at a time; everybody who wants it waits for that one."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._failures: OrderedDict[str, tuple[datetime, str]] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[bytes]] = {}
        self._fetched_at: deque[datetime] = deque(maxlen=FETCHES_PER_MINUTE_MAX)

    def known(self, url: str, now: datetime) -> Kept | None:
        """What is kept and fresh."""
        kept = self._kept.get(url)
        if kept is None or not kept.is_fresh(now):
            return None
        self._kept.move_to_end(url)
        return kept

    def remember(self, url: str, kept: Kept) -> None:
        """Keep an answer, as the database or another process knows it, unless a later one is kept."""
        known = self._kept.get(url)
        if known is None or known.fetched_at < kept.fetched_at:
            self._kept[url] = kept
        self._kept.move_to_end(url)
        while len(self._kept) > URLS_MAX:
            self._kept.popitem(last=False)

    async def get(self, url: str, now: datetime, *, newer_than: datetime | None = None) -> Kept:
        """The certificate of this address, fetched where none is fresh, or none ``newer_than`` that time is kept.

        The caller has made sure that the address is one of PayPal's. Raises CertificateUnavailableError.
        """
        known = self.known(url, now)
        if known is not None and (newer_than is None or known.fetched_at > newer_than):
            return known
        try:
            kept = Kept(await self._fetched(url, now), now)
        except CertificateUnavailableError:
            stale = self._kept.get(url)
            if newer_than is None and stale is not None and stale.is_usable(now):
                return stale
            raise
        self.remember(url, kept)
        return kept

    async def _fetched(self, url: str, now: datetime) -> bytes:
        task = self._under_way.get(url)
        if task is None:
            self._refuse_haste(url, now)
            self._fetched_at.append(now)
            task = asyncio.create_task(self._ask(url, now), name="paypal-certificate")
            self._under_way[url] = task
            task.add_done_callback(lambda done: self._ended(url, done))
        # Whoever gives up waiting must not take the answer from the others.
        return await asyncio.shield(task)

    def _refuse_haste(self, url: str, now: datetime) -> None:
        failed_at, reason = self._failures.get(url, (None, ""))
        if failed_at is not None and now - failed_at < FAILURE_KEPT:
            raise CertificateUnavailableError(reason)
        is_full = len(self._fetched_at) == FETCHES_PER_MINUTE_MAX
        if is_full and now - self._fetched_at[0] < timedelta(minutes=1):
            raise CertificateUnavailableError(f"{FETCHES_PER_MINUTE_MAX} certificates were fetched within a minute")

    async def _ask(self, url: str, now: datetime) -> bytes:
        try:
            async with asyncio.timeout(FETCH_S_MAX):
                pem = await self._fetch(url)
            read_certificates(pem)
        except (CertificateUnavailableError, UnknownIssuerError, TimeoutError) as error:
            reason = str(error) or f"the certificate's address did not answer within {FETCH_S_MAX:g} s"
            self._failures[url] = (now, reason)
            self._failures.move_to_end(url)
            while len(self._failures) > FAILURES_MAX:
                self._failures.popitem(last=False)
            raise CertificateUnavailableError(reason) from error
        self._failures.pop(url, None)
        return pem

    def _ended(self, url: str, task: asyncio.Task[bytes]) -> None:
        self._under_way.pop(url, None)
        if not task.cancelled():
            # Read here, so that an answer nobody waited for is no complaint of the event loop.
            task.exception()


async def fetch_certificate(url: str) -> bytes:
    """GET the address: TLS verified, no redirect followed, no proxy, a bounded answer.

    Raises CertificateUnavailableError.
    """
    timeout = aiohttp.ClientTimeout(total=FETCH_S_MAX)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
            http.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise CertificateUnavailableError(f"the certificate's address answers {response.status}")
            return await _bounded(response.content)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise CertificateUnavailableError(
            f"the certificate's address cannot be reached: {type(error).__name__}"
        ) from error


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    pem = bytearray()
    async for chunk in content.iter_any():
        pem += chunk
        if len(pem) > PEM_BYTES_MAX:
            raise CertificateUnavailableError(f"the certificate's address answers more than {PEM_BYTES_MAX} bytes")
    return bytes(pem)
