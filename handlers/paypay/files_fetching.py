"""Fetching a transaction file from an address that was checked: no redirect, no proxy, bounded in time and size.

Source: docs/providers/paypay.md, "Transaction files".
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from dataclasses import dataclass
from typing import IO, Final

import aiohttp.client
from aiohttp.abc import AbstractResolver
from yarl import URL

from handlers.paypay.files_address import AddressRefusedError, Allowed, PublicResolver
from hub.errors import HubError

FETCH_S_MAX: Final = 60.0
CONNECT_S_MAX: Final = 5.0
CHUNK: Final = 256 * 1024
IN_MEMORY_MAX: Final = 8 * 1024 * 1024
"""Beyond that a file lies on the disk while it is on its way."""
OK: Final = 200


class FetchError(HubError):
    """The file could not be fetched now; the text says why, without the address. A later try may succeed."""


class FileRefusedError(HubError):
    """The file is not taken, now or later; the text says why, without the address."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file as it came, at its beginning; closing it throws it away."""

    content: IO[bytes]
    sha256: str
    size_bytes: int


async def fetch(url: URL, allowed: Allowed, *, bytes_max: int, resolver: AbstractResolver | None = None) -> Fetched:
    """Fetch the file of an address that ``checked_address`` has let pass.

    Raises FetchError, FileRefusedError, AddressRefusedError.
    """
    names = resolver or aiohttp.ThreadedResolver()
    if not allowed.is_own(url):
        names = PublicResolver(names)
    content = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_MAX)  # noqa: SIM115 - handed on to the caller
    try:
        async with (
            asyncio.timeout(FETCH_S_MAX),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=names, use_dns_cache=False, force_close=True),
                timeout=aiohttp.ClientTimeout(total=FETCH_S_MAX, sock_connect=CONNECT_S_MAX),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            ) as http,
            http.get(url, allow_redirects=False) as response,
        ):
            _judge(response, bytes_max)
            digest, size = await _copied(response.content, content, bytes_max)
    except BaseException as error:
        content.close()
        refused = _refused_within(error)
        if refused is not None:
            raise refused from error
        if isinstance(error, TimeoutError):
            raise FetchError(f"the host did not send the file within {FETCH_S_MAX:g} s") from error
        if isinstance(error, aiohttp.ClientError | OSError):
            raise FetchError(f"the file broke off, or its host cannot be reached: {type(error).__name__}") from error
        raise
    content.seek(0)
    return Fetched(content, digest, size)


def _judge(response: aiohttp.ClientResponse, bytes_max: int) -> None:
    if 300 <= response.status < 400:
        raise FileRefusedError(f"the address leads on to another one ({response.status}), which is not followed")
    if response.status != OK:
        raise FetchError(f"the host answers {response.status}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FileRefusedError("the file comes compressed, although it was asked for as it is")
    if response.content_length is not None and response.content_length > bytes_max:
        raise FileRefusedError(f"the file has {response.content_length} bytes, and {bytes_max} are the most")


async def _copied(source: aiohttp.StreamReader, content: IO[bytes], bytes_max: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    async for chunk in source.iter_chunked(CHUNK):
        size += len(chunk)
        if size > bytes_max:
            raise FileRefusedError(f"the file has more than {bytes_max} bytes")
        digest.update(chunk)
        content.write(chunk)
    return digest.hexdigest(), size


def _refused_within(error: BaseException) -> AddressRefusedError | None:
    """What the resolver said, however the client has wrapped it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AddressRefusedError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
