"""Trials on PostgreSQL and RabbitMQ: sales come while one hub works, a second one takes its part, and the first leaves.

At one point of its life the first is killed, or what it was about to do fails and it lives on. The second one brings
everything to its end. Both are processes of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from uuid import uuid4

from tests.faults.books import Books, reading
from tests.faults.nursery import KILLED, LifeApart, Nursery, Order
from tests.faults.seams import Point
from tests.faults.selling import WEBHOOK_KEY, Desk, drained, sale_to
from tests.faults.till_judge import Evidence, SaleSent, judge_till, left_to_do
from tests.faults.trial import Verdict
from tests.support.copies import Copies
from tests.support.databases import Databases
from tests.support.rabbit import rabbit_address, raw_channel
from tests.support.running import environment
from tests.support.servers import address_of
from tests.support.till import Names, routing_of

CUSTOMERS = ("q1", "q2", "q3")
ALONE, TOGETHER, AFTER = range(2), range(2, 4), range(4, 5)
"""The numbers of the sales that come while the first hub is alone, beside the second one, and gone."""
TRIAL_S_MAX = 600.0
LOOK_S = 0.01
LANES = 256
POOL_SIZE = "5"


@dataclass(frozen=True, slots=True)
class Clean:
    """A run in which nothing was cut off: the points of the first hub's life, while it was opened and after."""

    verdict: Verdict
    opening: frozenset[Point]
    rest: frozenset[Point]


@dataclass(slots=True)
class _Play:
    """One trial under way."""

    first: LifeApart
    second: LifeApart
    books: Books
    accepted: list[SaleSent] = field(default_factory=list)

    @property
    def is_over_for_first(self) -> bool:
        return self.first.ended is not None


class RabbitStage:
    """Sets the scene for one trial after the other, with names of its own at the broker."""

    def __init__(self, databases: Databases, folder: Path, apart: Nursery) -> None:
        self._databases = databases
        self._folder = folder
        self._apart = apart
        self._names = Names()
        self._numbers = count(1)
        self._template = ""
        self._broker = ""
        self._copies: Copies
        self._desk: Desk

    async def prepare(self) -> None:
        """A database that a hub has opened once, and the queues at the broker."""
        (self._folder / "routing.yaml").write_text(routing_of(self._names))
        self._broker = await rabbit_address()
        self._desk = Desk(self._broker, self._names)
        self._template = await self._databases.fresh("postgresql")
        once = self._apart.life(Order(scene="rabbit"))
        await once.begin(self._environ(self._template))
        await once.stop_in_order()
        self._copies = Copies(self._template.rpartition("/")[2])

    async def close(self) -> None:
        """Remove everything that was made."""
        await self._desk.close()
        async with raw_channel(self._broker) as channel:
            for queue in self._names.queues:
                await channel.queue_delete(queue)
            for exchange in self._names.exchanges:
                await channel.exchange_delete(exchange)
        await self._copies.close()
        await self._databases.drop(self._template)

    async def clean_run(self) -> Clean:
        """Nothing is cut off."""
        file = self._folder / f"points{uuid4().hex[:8]}"
        first = self._apart.life(Order(scene="rabbit", is_quiet=True, points_file=str(file)))
        verdict = await self._try(None, first)
        opening, rest = first.points() if not verdict.violations else ([], [])
        return Clean(verdict, frozenset(opening), frozenset(rest) - frozenset(opening))

    async def trial(self, point: Point, *, lives_on: bool) -> Verdict:
        """The first hub is killed at ``point``, or fails there and ``lives_on``."""
        order = Order(scene="rabbit", place=point.place, occurrence=point.occurrence, lives_on=lives_on, is_quiet=True)
        return await self._try(point, self._apart.life(order))

    async def _try(self, point: Point | None, first: LifeApart) -> Verdict:
        address = address_of(await self._copies.take())
        second = self._apart.life(Order(scene="rabbit"))
        try:
            async with asyncio.timeout(TRIAL_S_MAX), reading(address) as books:
                await self._empty_queues()
                play = _Play(first, second, books)
                try:
                    with suppress(TimeoutError):
                        await self._play(play, address)
                    was_reached = first.has_slipped or first.ended == KILLED
                    found = [f"a hub ended by itself with code {one.ended}" for one in (first, second) if one.is_odd]
                finally:
                    await first.die()
                    await second.die()
                found += await self._judge(play)
                return Verdict(point, was_reached, tuple(found), len(play.accepted))
        finally:
            await self._copies.give_back(address.rpartition("/")[2])

    async def _play(self, play: _Play, address: str) -> None:
        async with asyncio.timeout(TRIAL_S_MAX / 2):
            await play.first.begin(self._environ(address))
            await self._sell(play, ALONE)
            await self._settled(play, until=lambda: play.is_over_for_first)
            await play.second.begin(self._environ(address))
            while not (play.is_over_for_first or await self._is_shared(play)):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S)
            await self._sell(play, TOGETHER)
            await self._settled(play)
            if not play.is_over_for_first:
                await play.first.stop_in_order()
            await self._sell(play, AFTER)
            await self._settled(play)

    async def _sell(self, play: _Play, numbers: range) -> None:
        for number in numbers:
            for customer in CUSTOMERS:
                sale = sale_to(customer, number)
                while not await self._desk.send(sale):  # noqa: ASYNC110 - it is at a broker
                    await asyncio.sleep(LOOK_S)
                play.accepted.append(sale)

    async def _settled(self, play: _Play, *, until: Callable[[], bool] = lambda: False) -> None:
        while not until() and await left_to_do(play.books, len(play.accepted)):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)

    async def _is_shared(self, play: _Play) -> bool:
        rows = await play.books.rows(
            "SELECT w.pid, count(*) FROM lanes l JOIN workers w ON w.id = l.worker_id"
            " WHERE w.state = 'running' GROUP BY w.pid"
        )
        return [int(lanes) for _, lanes in rows] == [LANES, LANES]

    async def _judge(self, play: _Play) -> list[str]:
        queues = {
            destination: await drained(self._broker, queue)
            for destination, queue in (("sold", self._names.sold), ("copies", self._names.copies))
        }
        left = await left_to_do(play.books, len(play.accepted))
        found = [f"everything comes to its end: {left}"] if left else []
        # By the queue alone nothing is answered: a broker hands out again what was not acknowledged.
        return found + await judge_till(play.books, Evidence(play.accepted, 0, queues))

    async def _empty_queues(self) -> None:
        """What the dead of the last trial had in hand goes back to its queue first."""
        async with raw_channel(self._broker) as channel:
            for queue in self._names.queues:
                while (await channel.queue_declare(queue, passive=True)).consumer_count:  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_S)
                await channel.queue_purge(queue)

    def _environ(self, address: str) -> dict[str, str]:
        home = self._folder / f"home{next(self._numbers)}"
        home.mkdir()
        return environment(
            home,
            address,
            HUB_ROUTING=str(self._folder / "routing.yaml"),
            HUB_BROKER_URL=self._broker,
            HUB_DATABASE_POOL_SIZE=POOL_SIZE,
            HUB_SANDBOX="0",
            TILL_WEBHOOK_KEY=WEBHOOK_KEY,
        )
