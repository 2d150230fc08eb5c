"""Bytes on a socket, as no honest client would write them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.integration.ingress.conftest import SECRET, Harness
from tests.support.patience import STILL_S_MAX

GOOD = b'{"id": 1}'
BUFFER_BYTES = 65_536


def head(
    *lines: bytes,
    start: bytes = b"POST /webhooks/bank HTTP/1.1",
    host: bytes | None = b"Host: hub.example",
    proof: bytes = b"Authorization: Apikey " + SECRET.encode(),
    end: bytes = b"\r\n",
) -> bytes:
    """The head of a request whose sender is proven: were it taken, the inbox would have it."""
    return end.join([start, *([host] if host is not None else []), proof, *lines, b"", b""])


def post(*lines: bytes, body: bytes = GOOD) -> bytes:
    """A whole request, after which the connection may be closed."""
    return head(*lines, b"Content-Length: %d" % len(body), b"Connection: close") + body


@dataclass
class Wire:
    """One connection, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: bytes = b""

    async def send(self, data: bytes) -> None:
        """Write, whether or not somebody still listens."""
        self.writer.write(data)
        try:
            await self.writer.drain()
        except ConnectionError:
            return

    async def until(self, mark: bytes) -> bytes:
        """What has come, as soon as this is in it or the server has closed."""
        async with asyncio.timeout(STILL_S_MAX):
            while mark not in self.seen:
                try:
                    chunk = await self.reader.read(65_536)
                except ConnectionError:
                    break
                if not chunk:
                    break
                self.seen += chunk
        return self.seen

    async def rest(self) -> bytes:
        """What comes until the server closes; it must."""
        async with asyncio.timeout(STILL_S_MAX):
            try:
                while chunk := await self.reader.read(65_536):
                    self.seen += chunk
            except ConnectionError:
                pass
        return self.seen


@asynccontextmanager
async def wired(hub: Harness, *, buffer_bytes: int = BUFFER_BYTES) -> AsyncIterator[Wire]:
    """A connection to the server; ``buffer_bytes`` is about how much of an answer it takes without being read."""
    line = socket.socket()
    line.setblocking(False)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    await asyncio.get_running_loop().sock_connect(line, (hub.serving.host, hub.serving.port))
    reader, writer = await asyncio.open_connection(sock=line, limit=buffer_bytes)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def statuses(answer: bytes) -> list[int]:
    """The statuses of all answers, in order. No body of ours holds the mark."""
    return [int(part[2:5]) for part in answer.split(b"HTTP/1.")[1:]]
