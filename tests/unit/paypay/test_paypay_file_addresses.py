"""Where a transaction file may be fetched from, and how: the address comes from a stranger."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from handlers.paypay.files import notice_id
from handlers.paypay.files_address import AddressRefusedError, Allowed, PublicResolver, checked_address, is_public
from handlers.paypay.files_fetching import FetchError, FileRefusedError, fetch
from handlers.paypay.files_store import plain_name, storage_key

LISTED = Allowed(("files.example.test", "other.example.test:8443", "93.184.216.34", "10.0.0.5"))


@pytest.mark.parametrize(
    "address",
    [
        "https://files.example.test/recon/a.csv?sig=abc",
        "https://FILES.example.test./a.csv",
        "https://files.example.test:443/a.csv",
        "https://other.example.test:8443/a.csv",
        "https://93.184.216.34/a.csv",
    ],
)
def test_a_listed_host_is_fetched_from(address: str) -> None:
    assert str(checked_address(address, LISTED)).startswith("https://")


@pytest.mark.parametrize(
    "address",
    [
        None,
        7,
        "",
        "a.csv",
        "//files.example.test/a.csv",
        "http://files.example.test/a.csv",
        "ftp://files.example.test/a.csv",
        "file:///etc/passwd",
        "gopher://files.example.test/",
        "https://files.example.test:8443/a.csv",
        "https://elsewhere.test/a.csv",
        "https://files.example.test.elsewhere.test/a.csv",
        "https://elsewhere.test/files.example.test",
        "https://user@files.example.test/a.csv",
        "https://files.example.test@elsewhere.test/a.csv",
        "https://:secret@files.example.test/a.csv",
        "https://files.example.test\\@elsewhere.test/a.csv",
        "https://files.example.test /a.csv",
        "https://files.example.test/a\r\nHost: elsewhere.test",
        "https://files.example.test/a\x00.csv",
        "https://10.0.0.5/a.csv",
        "https://[::1]/a.csv",
        "https://2130706433/a.csv",
        "https://files.example.test:99999/a.csv",
        "https://files.example.test/" + "a" * 5_000,
        "https://fi\u217ces.example.test/a.csv",
    ],
)
def test_any_other_address_is_refused_and_not_told(address: object) -> None:
    with pytest.raises(AddressRefusedError) as refused:
        checked_address(address, LISTED)

    assert "secret" not in str(refused.value)
    assert "a.csv" not in str(refused.value)


def test_without_a_list_nothing_is_fetched_and_the_setting_is_named() -> None:
    with pytest.raises(AddressRefusedError, match="PAYPAY_FILE_HOSTS"):
        checked_address("https://files.example.test/a.csv", Allowed(()))


def test_paypay_played_on_this_machine_is_let_through_alone() -> None:
    own = Allowed((), own="http://127.0.0.1:8080/sandbox/paypay")

    assert checked_address("http://127.0.0.1:8080/sandbox/paypay/files/a.csv", own).port == 8080
    for other in ("http://127.0.0.1:8081/a.csv", "http://localhost:8080/a.csv", "https://127.0.0.1:8080/a.csv"):
        with pytest.raises(AddressRefusedError):
            checked_address(other, own)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
        ),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "224.0.0.1", "::ffff:127.0.0.1"),
        *("64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:10.0.0.1", "255.255.255.255", "", "name"),
    ],
)
def test_a_private_address_is_none_of_the_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_a_public_address_is(address: str) -> None:
    assert is_public(address)


class Names(AbstractResolver):
    """Leads every name where the test wants."""

    def __init__(self, *addresses: str, port: int = 0) -> None:
        self._addresses = addresses
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=self._port or port, family=socket.AF_INET, proto=0, flags=0)
            for one in self._addresses
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("93.184.216.34", "10.0.0.1"), ()])
async def test_a_name_that_leads_to_a_private_address_is_refused(addresses: tuple[str, ...]) -> None:
    with pytest.raises(AddressRefusedError, match="private"):
        await PublicResolver(Names(*addresses)).resolve("files.example.test")


async def test_a_listed_name_that_leads_into_our_own_network_is_never_connected_to() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="secrets")

    async with _host(answer) as (url, allowed):
        listed = Allowed(("files.example.test",))
        wanted = checked_address("https://files.example.test/a.csv", listed)

        with pytest.raises(AddressRefusedError, match="private"):
            await fetch(wanted, listed, bytes_max=100, resolver=Names("127.0.0.1", port=url.port or 0))

    assert asked == []
    assert allowed.hosts == ()


async def test_a_file_is_fetched_whole_with_its_hash() -> None:
    content = b"\x82\xa0," * 200_000

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=content)

    async with _host(answer) as (url, allowed):
        fetched = await fetch(url, allowed, bytes_max=len(content))

    with fetched.content as kept:
        assert kept.read() == content
    assert (fetched.sha256, fetched.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))


async def test_a_file_that_is_too_large_is_refused_told_or_not() -> None:
    async def told(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 101)

    async def untold(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(50):
            await response.write(b"xxx")
        return response

    for answer in (told, untold):
        async with _host(answer) as (url, allowed):
            with pytest.raises(FileRefusedError, match="100"):
                await fetch(url, allowed, bytes_max=100)


async def test_a_redirect_is_not_followed_and_a_compressed_answer_is_not_taken() -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/zip":
            return web.Response(body=b"x", headers={"Content-Encoding": "gzip"})
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with _host(answer) as (url, allowed):
        with pytest.raises(FileRefusedError, match="not followed"):
            await fetch(url, allowed, bytes_max=100)
        with pytest.raises(FileRefusedError, match="compressed"):
            await fetch(url.with_path("/zip"), allowed, bytes_max=100)

    assert asked == ["/a.csv", "/zip"]


async def test_what_breaks_off_or_says_no_may_be_tried_again() -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def no(_request: web.Request) -> web.Response:
        return web.Response(status=403)

    for answer, words in ((cut, "broke off"), (no, "answers 403")):
        async with _host(answer) as (url, allowed):
            with pytest.raises(FetchError, match=words):
                await fetch(url, allowed, bytes_max=10_000)
    with pytest.raises(FetchError, match="cannot be reached"):
        await fetch(url, allowed, bytes_max=10_000)


@given(st.text(max_size=300))
def test_a_name_never_leads_out_of_its_place(name: str) -> None:
    plain = plain_name(name)

    assert plain not in ("", ".", "..")
    assert not set(plain) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert plain_name(plain) == plain


def test_the_place_of_a_file_is_the_published_one() -> None:
    name = "transaction_900000000000000001_20240101000000_20240101235959_v2.csv"

    assert (
        storage_key("transaction_recon", "900000000000000001", date(2024, 1, 1), name)
        == f"paypay/transaction_recon/900000000000000001/2024/01/01/{name}"
    )
    assert storage_key("../..", "/etc", date(2024, 1, 1), "..\\..\\x") == "paypay/unnamed/etc/2024/01/01/x"


@asynccontextmanager
async def _host(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[tuple[URL, Allowed]]:
    """A host of this machine, which the settings call PayPay's own."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        own = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield URL(f"{own}/a.csv"), Allowed((), own=own)
    finally:
        await runner.cleanup()


def test_a_notice_is_known_by_its_id_or_by_all_that_it_says() -> None:
    path, strange = {"path": "https://files.example.test/a.csv"}, "x" * 256

    assert notice_id({**path, "notification_id": "n-1"}) == "n-1"
    for unbearable in (None, "", 7, "a\0", strange):
        notice = {**path, "notification_id": unbearable}
        # A copy of it is the same, in whatever order it is written; another address makes it another one.
        assert notice_id(notice) == notice_id(dict(reversed(notice.items()))) != notice_id({**notice, "path": "b"})
        assert len(notice_id(notice)) == 64
