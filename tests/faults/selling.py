"""Senders of sales that go on whatever happens: each repeats a sale until it is accepted, then comes the next one.

Half of the customers buy through the source's queue, half by webhook. Now and then a sale that was accepted is sent
once more, as senders do.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import TypeAlias

import aiohttp
import aiormq

from tests.faults.publishing import ANSWER_S_MAX, Publisher
from tests.faults.till_judge import Arrived, SaleSent
from tests.support.rabbit import raw_channel
from tests.support.till import ROUTING_KEY, WEBHOOK, Names

WEBHOOK_KEY = "till-webhook-key"
HEADERS = {"Authorization": f"Apikey {WEBHOOK_KEY}", "Content-Type": "application/json"}
AGAIN_S = 0.05
REPEAT_EVERY = 7
DRAIN_S_MAX = 240.0

Send: TypeAlias = Callable[[SaleSent], Awaitable[bool]]
"""Sends a sale once; whether it was accepted."""


class Desk(Publisher):
    """Publishes to the exchange of the hub's source."""

    def __init__(self, url: str, names: Names) -> None:
        super().__init__(url)
        self._names = names

    async def send(self, sale: SaleSent) -> bool:
        """Once; whether the broker has confirmed that a queue holds it."""
        return await self.publish(self._names.exchange, ROUTING_KEY, sale.id, sale.body)


class Selling:
    """The load. ``accepted`` is what the hub, or the broker before it, has taken on."""

    def __init__(self, broker_url: str, names: Names, hubs: Callable[[], Sequence[str]], *, pause_s: float) -> None:
        self.accepted: list[SaleSent] = []
        self.answers = 0
        """How often something was accepted, repeats included, by webhook: each was counted by the hub."""
        self._desk = Desk(broker_url, names)
        self._hubs = hubs
        self._pause_s = pause_s
        self._may_sell = asyncio.Event()
        self._may_sell.set()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._idle: set[str] = set()
        self._stopping = False

    async def run(self, by_queue: Sequence[str], by_webhook: Sequence[str]) -> None:
        """Sell to these customers until ``stop``."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            try:
                async with asyncio.TaskGroup() as group:
                    for key in by_queue:
                        group.create_task(self._sell_to(key, self._desk.send))
                    for number, key in enumerate(by_webhook):
                        group.create_task(self._sell_to(key, self._poster(http, number)))
            finally:
                await self._desk.close()

    def stop(self) -> None:
        """Each sale under way is accepted yet, and no other one begun."""
        self._stopping = True
        self._may_sell.set()
        self._has_room.set()

    def pause(self) -> None:
        """As ``stop``, until ``go_on``."""
        self._may_sell.clear()

    def go_on(self) -> None:
        self._may_sell.set()

    def may_reach(self, count: int) -> None:
        """Begin no further sale while so many have been accepted."""
        if len(self.accepted) < count or self._stopping:
            self._has_room.set()
        else:
            self._has_room.clear()

    @property
    def idle(self) -> int:
        """How many senders wait for ``go_on``."""
        return len(self._idle)

    def count_of(self, way: str) -> int:
        """How many sales were accepted whose customers begin with this letter."""
        return sum(sale.key.startswith(way) for sale in self.accepted)

    async def _sell_to(self, key: str, send: Send) -> None:
        for number in count():
            await self._has_room.wait()
            self._idle.add(key)
            await self._may_sell.wait()
            self._idle.discard(key)
            if self._stopping:
                return
            sale = sale_to(key, number)
            await self._accepted(send, sale)
            self.accepted.append(sale)
            if number % REPEAT_EVERY == 0:
                await self._accepted(send, sale)
            await asyncio.sleep(self._pause_s)

    async def _accepted(self, send: Send, sale: SaleSent) -> None:
        while not await send(sale):  # noqa: ASYNC110 - it is at a broker, or at a hub
            await asyncio.sleep(AGAIN_S)

    def _poster(self, http: aiohttp.ClientSession, first: int) -> Send:
        turns = count(first)

        async def post(sale: SaleSent) -> bool:
            urls = self._hubs()
            if not urls:
                return False
            url = urls[next(turns) % len(urls)]
            try:
                async with http.post(url + WEBHOOK, data=io.BytesIO(sale.body), headers=HEADERS) as response:
                    await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError):
                return False
            self.answers += response.status == 200
            return response.status == 200

        return post


def sale_to(key: str, number: int, *, do: str = "") -> SaleSent:
    """The ``number``-th sale to a customer."""
    id_, amount = f"{key}-{number}", 1 + number % 5
    body = {"id": id_, "key": key, "number": number, "amount": amount, "do": do}
    return SaleSent(id_, key, number, amount, json.dumps(body).encode())


async def drained(url: str, queue: str) -> list[Arrived]:
    """Everything that lies in a queue, in its order. It is taken out."""
    arrived: list[Arrived] = []
    came = asyncio.Event()

    async def take(message: aiormq.abc.DeliveredMessage) -> None:
        arrived.append(Arrived(message.header.properties.message_id or "", message.body))
        came.set()

    async with raw_channel(url) as channel, asyncio.timeout(DRAIN_S_MAX):
        waiting = (await channel.queue_declare(queue, passive=True)).message_count or 0
        await channel.basic_consume(queue, take, no_ack=True)
        while len(arrived) < waiting:
            came.clear()
            await came.wait()
    return arrived
