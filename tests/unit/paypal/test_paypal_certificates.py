"""Certificates that are fetched: kept, shared, bounded, and never from where a redirect leads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.paypal.certificates import (
    FETCHES_PER_MINUTE_MAX,
    FRESH,
    PEM_BYTES_MAX,
    URLS_MAX,
    Certificates,
    CertificateUnavailableError,
    fetch_certificate,
)
from tests.unit.paypal.test_paypal_verifying import VECTORS

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
PEM = (VECTORS / "certs/TEST_ONLY_leaf_sandbox.pem").read_bytes()
EXPIRED = (VECTORS / "certs/TEST_ONLY_leaf_expired.pem").read_bytes()


class Host:
    """A certificate host that counts how often it is asked; ``answer`` None means that it is down."""

    def __init__(self, answer: bytes | None = PEM) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.release = asyncio.Event()
        self.release.set()

    async def fetch(self, url: str) -> bytes:
        self.asked.append(url)
        await self.release.wait()
        if self.answer is None:
            raise CertificateUnavailableError("down")
        return self.answer


async def test_a_certificate_is_fetched_once_a_day_by_one_for_all() -> None:
    host = Host()
    host.release.clear()
    certificates = Certificates(host.fetch)

    waiting = [asyncio.create_task(certificates.get("u", NOW)) for _ in range(20)]
    await asyncio.sleep(0)
    host.release.set()
    await asyncio.gather(*waiting)
    await certificates.get("u", NOW + FRESH - timedelta(seconds=1))
    assert host.asked == ["u"]

    await certificates.get("u", NOW + FRESH)
    assert host.asked == ["u", "u"]


async def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    host = Host()
    host.release.clear()
    certificates = Certificates(host.fetch)
    impatient, patient = (asyncio.create_task(certificates.get("u", NOW)) for _ in range(2))
    await asyncio.sleep(0)

    impatient.cancel()
    host.release.set()

    assert (await patient).pem == PEM


async def test_an_old_certificate_stands_in_while_its_host_is_down_but_not_past_its_end() -> None:
    host = Host()
    certificates = Certificates(host.fetch)
    await certificates.get("u", NOW)
    host.answer = EXPIRED
    await certificates.get("old", NOW)
    host.answer = None
    later = NOW + 2 * FRESH

    assert (await certificates.get("u", later)).fetched_at == NOW
    with pytest.raises(CertificateUnavailableError):
        await certificates.get("old", later)
    with pytest.raises(CertificateUnavailableError):
        await certificates.get("u", later, newer_than=NOW)


async def test_a_failure_is_remembered_for_half_a_minute() -> None:
    host = Host(b"<html>")
    certificates = Certificates(host.fetch)

    for seconds in (0, 1, 29):
        with pytest.raises(CertificateUnavailableError, match="not PEM"):
            await certificates.get("u", NOW + timedelta(seconds=seconds))
    assert host.asked == ["u"]

    host.answer = PEM
    assert (await certificates.get("u", NOW + timedelta(seconds=30))).pem == PEM


async def test_a_thousand_addresses_make_ten_fetches_a_minute_and_fifty_kept() -> None:
    host = Host()
    certificates = Certificates(host.fetch)

    refused = 0
    for number in range(1_000):
        try:
            await certificates.get(f"u{number}", NOW)
        except CertificateUnavailableError:
            refused += 1
    assert (len(host.asked), refused) == (FETCHES_PER_MINUTE_MAX, 1_000 - FETCHES_PER_MINUTE_MAX)

    for number in range(100):
        await certificates.get(f"v{number}", NOW + timedelta(minutes=1 + number))
    kept = [number for number in range(100) if certificates.known(f"v{number}", NOW + timedelta(minutes=101))]
    assert kept == list(range(100 - URLS_MAX, 100))


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async def huge(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * (PEM_BYTES_MAX + 1))

    async def good(request: web.Request) -> web.Response:
        return web.Response(body=PEM)

    async def away(request: web.Request) -> web.Response:
        raise web.HTTPFound("/good")

    app = web.Application()
    app.add_routes([web.get("/good", good), web.get("/huge", huge), web.get("/away", away)])
    server = TestServer(app)
    async with server:
        yield server


async def test_only_a_plain_answer_of_bounded_size_counts(server: TestServer) -> None:
    assert await fetch_certificate(str(server.make_url("/good"))) == PEM

    for path, reason in (("/huge", "more than"), ("/away", "302"), ("/none", "404")):
        with pytest.raises(CertificateUnavailableError, match=reason):
            await fetch_certificate(str(server.make_url(path)))
    closed = str(server.make_url("/good"))
    await server.close()
    with pytest.raises(CertificateUnavailableError, match="cannot be reached"):
        await fetch_certificate(closed)
