"""Who sends: each message and command again, to whichever hub answers, until it is answered; and how far all may go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

import aiohttp

from tests.faults.line import Answer
from tests.simulation.world import Told

ANSWER_S_MAX: Final = 5.0
"""How long a sender waits before it sends again: some of what it gave up is accepted all the same."""
AGAIN_S: Final = 0.05
AGAIN_S_MAX: Final = 1.0
REPEATED_SHARE: Final = 0.05
"""Of what was answered, how much is sent once more, as senders do."""
LATER: Final = (408, 429)
NOBODY: Final = "nobody"
SENDING_MAX: Final = 64


class Lines:
    """HTTP to two hubs, one of which may be dead, stopped, or cut off from everything."""

    def __init__(self, urls: Sequence[str], told: Told, chance: Random) -> None:
        self.told = told
        self.requests: Counter[str] = Counter()
        """What senders heard: statuses, and ``nobody``."""
        self._urls = urls
        self._chance = chance
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Lines:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        self._http = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=SENDING_MAX))
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._http is not None
        await self._http.close()

    async def deliver(
        self,
        source: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        messages: Sequence[bytes],
        *,
        tries_max: int = 0,
    ) -> Answer | None:
        """Send until it is answered: with 2xx the ``messages`` are the hub's. None where ``tries_max`` were in vain."""
        answer = await self._until_answered("POST", path, body, headers, source, len(messages), tries_max)
        if answer is None:
            return None
        if answer.status >= 300:
            self.told.refused.append((f"{source} {path}", answer.status, answer.body.decode("utf-8", "replace")[:300]))
            return answer
        self.told.accepted += [(source, message) for message in messages]
        if self._chance.random() < REPEATED_SHARE:
            await self._until_answered("POST", path, body, headers, source, len(messages), 1)
        return answer

    async def ask(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Give a command until it is answered, however."""
        answer = await self._until_answered("POST", path, body, headers, "command", 1, 0)
        assert answer is not None
        if answer.status >= 300:
            self.told.refused.append((f"command {path}", answer.status, answer.body.decode("utf-8", "replace")[:300]))
        return answer

    async def look(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Ask for something until it is answered, however."""
        answer = await self._until_answered("GET", path, b"", headers, "look", 0, 0)
        assert answer is not None
        return answer

    async def _until_answered(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        source: str,
        messages: int,
        tries_max: int,
    ) -> Answer | None:
        pause_s, tries = AGAIN_S, 0
        while not tries_max or tries < tries_max:
            tries += 1
            self.told.sent[source] += messages
            answer = await self._once(method, self._chance.choice(self._urls) + path, body, headers)
            if answer is not None and answer.status < 300:
                self.told.answered[source] += messages
            if answer is not None and answer.status < 500 and answer.status not in LATER:
                return answer
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, AGAIN_S_MAX)
        return None

    async def _once(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | None:
        assert self._http is not None
        try:
            async with self._http.request(method, url, data=body or None, headers=headers) as response:
                self.requests[str(response.status)] += 1
                return Answer(response.status, await response.read())
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.requests[NOBODY] += 1
            return None


class Pace:
    """How far each flow may go. All go at the pace of the storm, so that each meets its share of what happens."""

    def __init__(self, totals: Mapping[str, int]) -> None:
        self.totals = totals
        self.begun: Counter[str] = Counter()
        self._share = 0.0
        self._moved = asyncio.Event()

    def allow(self, share: float) -> None:
        """Everybody may go on to this share of what is to be done."""
        if share > self._share:
            self._share = share
            self._moved.set()
            self._moved = asyncio.Event()

    async def piece(self, flow: str) -> int | None:
        """The number of the next piece of a flow, once it may begin; None when all are taken."""
        while self.begun[flow] < self.totals[flow]:
            if (number := self.piece_now(flow)) is not None:
                return number
            await self._moved.wait()
        return None

    def piece_now(self, flow: str) -> int | None:
        """The same, or None where the next one may not begin yet: nobody holds one that waits."""
        number = self.begun[flow]
        if number >= min(self.totals[flow], self._share * self.totals[flow]):
            return None
        self.begun[flow] += 1
        return number
