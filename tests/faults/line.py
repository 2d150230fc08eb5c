"""The outside world's line to the hub: plain HTTP that survives the hub's death, and a record of what was answered.

A sender that gets no answer knows nothing, so it sends again; only an answered message was accepted.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

ANSWER_S_MAX = 20.0
"""How long a sender waits before it gives a request up and tries again."""
AGAIN_S = 0.01
TOO_MANY = 429
DELIVER_S_MAX = 240.0
"""How long a sender goes on trying before the test is given up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of the hub."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Line:
    """Where the hub listens now (None: nowhere), what was sent there, and what it has taken on."""

    url: str | None = None
    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    accepted: list[tuple[str, bytes]] = field(default_factory=list)

    async def deliver(
        self, source: str, path: str, body: bytes, headers: Mapping[str, str], messages: Sequence[bytes]
    ) -> Answer:
        """Send until it is answered with 2xx. The ``messages`` in it are then the hub's: they count as accepted."""
        async with asyncio.timeout(DELIVER_S_MAX):
            while True:
                self.sent[source] += len(messages)
                answer = await self._post(path, body, headers)
                if answer is not None and 200 <= answer.status < 300:
                    self.answered[source] += len(messages)
                    self.accepted += [(source, message) for message in messages]
                    return answer
                if answer is not None and answer.status < 500:
                    raise AssertionError(f"{path} was refused: {answer.status} {answer.body!r}")
                await asyncio.sleep(AGAIN_S)

    async def ask(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a command until it is answered with 2xx. It names no identity: one without an answer is given again."""
        answer = await self.deliver("command", path, body, headers, [body])
        # The hub keeps the command that it made of the request, not the request.
        self.accepted.pop()
        return answer

    async def call(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Ask until it is answered with 2xx; whether anything was accepted by that is for others to count."""
        async with asyncio.timeout(DELIVER_S_MAX):
            while True:
                answer = await self._post(path, body, headers, method=method)
                if answer is not None and 200 <= answer.status < 300:
                    return answer
                if answer is not None and answer.status < 500 and answer.status != TOO_MANY:
                    raise AssertionError(f"{path} was refused: {answer.status} {answer.body!r}")
                await asyncio.sleep(AGAIN_S)

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str], *, method: str = "POST") -> Answer | None:
        """One request on a connection of its own; None when no whole answer came."""
        if self.url is None:
            return None
        address = urlsplit(self.url)
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                reader, writer = await asyncio.open_connection(address.hostname, address.port)
                try:
                    writer.write(_request(method, path, body, headers))
                    return _answer(await reader.read())
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return None


def _request(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: hub", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _answer(data: bytes) -> Answer | None:
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if len(body) != int(fields.get("content-length", "-1")):
        return None
    return Answer(int(lines[0].split()[1]), body)
