"""Two hubs on one PostgreSQL and one RabbitMQ, each behind proxies of its own, while sales come in without a pause."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url
from yarl import URL

from tests.faults.books import Row, reading
from tests.faults.nursery import LifeApart, Nursery, Order, nursery
from tests.faults.selling import WEBHOOK_KEY, Selling, drained
from tests.faults.till_judge import Evidence, judge_till, left_to_do
from tests.support.patience import until
from tests.support.proxy import Proxy, proxied
from tests.support.rabbit import raw_channel
from tests.support.running import environment
from tests.support.till import Names, routing_of

BY_QUEUE = ("q1", "q2", "q3")
BY_WEBHOOK = ("w1", "w2", "w3")
PAUSE_S = 0.05
STILL_S_MAX = 240.0
"""How long nothing may move: longer than any lease, back-off or silence here, on a machine that has much else to do."""
LOOK_S = 0.05
BACKLOG_MAX = 200
"""Sales that are accepted and not told: more prove nothing, and take their time on a slow machine."""
BACKLOG_LOOK_S = 0.2
STORM_S_MAX = 3_600
POOL_SIZE = "5"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the two servers answer, past the proxies, and how a pair is set up there."""

    database: str
    broker: str
    lease_s: float = 15.0
    heartbeat_s: int = 4


class Replica:
    """One of the two."""

    def __init__(self, nursery: Nursery, environ: dict[str, str], database: Proxy, broker: Proxy) -> None:
        self.database = database
        self.broker = broker
        self.life: LifeApart | None = None
        self._nursery = nursery
        self._environ = environ

    @property
    def url(self) -> str | None:
        """Where it listens; None while it does not live."""
        return self.life.url if self.life is not None and self.life.ended is None else None

    @property
    def pid(self) -> int:
        assert self.life is not None
        return self.life.pid

    async def start(self) -> None:
        """Until it listens."""
        self.life = self._nursery.life(Order(scene="plain", life_s_max=STORM_S_MAX))
        await self.life.begin(self._environ)
        assert self.life.ended is None, "the hub does not start; HUB_TEST_LOG_LEVEL=0 shows why"

    async def kill(self) -> None:
        assert self.life is not None
        await self.life.die()

    async def stop_in_order(self) -> None:
        """By SIGTERM, until it has ended as it should."""
        assert self.life is not None
        await self.life.stop_in_order()
        assert self.life.ended == 0, f"told to stop, it ended with code {self.life.ended}"

    def pause(self) -> None:
        assert self.life is not None
        self.life.signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.life is not None
        self.life.signal(signal.SIGCONT)


class Pair:
    """The two, what is sold to them, and the judge."""

    def __init__(self, place: Place, names: Names, replicas: Sequence[Replica]) -> None:
        self.place = place
        self.names = names
        self.replicas = replicas
        self.selling = Selling(place.broker, names, self._urls, pause_s=PAUSE_S)
        self.events = 0
        self._sending = asyncio.create_task(self.selling.run(BY_QUEUE, BY_WEBHOOK), name="selling")
        self._holding_back = asyncio.create_task(self._hold_back(), name="holding back")

    async def flows(self) -> None:
        """Wait until what is sold from now on, by queue and by webhook, is booked and told."""
        wanted = {way: self.selling.count_of(way) + len(BY_QUEUE) + 1 for way in "qw"}

        async def told() -> dict[str, int]:
            rows = await self.rows(
                "SELECT substr(key, 1, 1), count(*) FROM outbox"
                " WHERE destination = 'sold' AND state = 'sent' GROUP BY 1"
            )
            found = {str(way): int(number) for way, number in rows}
            return {way: min(found.get(way, 0), number) for way, number in wanted.items()}

        async def is_told() -> bool:
            return await told() == wanted

        await self.until(is_told, "sales to flow again", moves=told)

    async def quiet(self) -> None:
        """Hold the senders back, and wait until everything accepted is booked and told."""
        self.selling.pause()
        await self.until(self._is_quiet, "all to be settled", moves=self.left)

    async def rows(self, query: str) -> list[Row]:
        """Ask the database past the proxies; nothing while it is away."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with reading(self.place.database) as books:
                return await books.rows(query)
        return []

    async def until(
        self, condition: Callable[[], Awaitable[bool]], words: str, *, moves: Callable[[], Awaitable[object]]
    ) -> None:
        """Wait for a condition. Raises AssertionError where a hub ended by itself, or nothing moves any more."""

        async def holds() -> bool:
            for life in (replica.life for replica in self.replicas):
                assert life is None or not life.is_odd, f"a hub ended by itself with code {life.ended}"
            assert not self._sending.done(), self._sending.exception()
            return await condition()

        try:
            await until(holds, words, deadline_s=STILL_S_MAX, pause_s=LOOK_S, moves=moves)
        except TimeoutError as error:
            raise AssertionError(f"{error}; {await self.left()}") from None

    async def finish(self) -> list[str]:
        """Heal everything, let all come to its end, and ask the judge."""
        for replica in self.replicas:
            for proxy in (replica.database, replica.broker):
                proxy.resume()
                proxy.accept()
        self.selling.stop()
        found = []
        try:
            await until(self._sending.done, "the senders to end", deadline_s=STILL_S_MAX, moves=self.left)
            await self._sending
            await until(self._has_nothing_left, "the end", deadline_s=STILL_S_MAX, pause_s=LOOK_S, moves=self.left)
        except TimeoutError as error:
            found.append(f"everything comes to its end: {error}; {await self.left()}")
        for replica in self.replicas:
            await replica.kill()
        queues = {
            destination: await drained(self.place.broker, queue)
            for destination, queue in (("sold", self.names.sold), ("copies", self.names.copies))
        }
        self.events = len(self.selling.accepted)
        evidence = Evidence(self.selling.accepted, self.selling.answers, queues)
        async with reading(self.place.database) as books:
            return found + await judge_till(books, evidence)

    async def left(self) -> str:
        """What is not done of what was accepted; empty when all is."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with reading(self.place.database) as books:
                return await left_to_do(books, len(self.selling.accepted))
        return "the database is away"

    async def close(self) -> None:
        tasks = {self._sending, self._holding_back}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _hold_back(self) -> None:
        """Sell no faster than the hubs work; while the database is away, as much as before."""
        while True:
            rows = await self.rows("SELECT count(*) FROM outbox WHERE destination = 'sold' AND state = 'sent'")
            for (told,) in rows:
                self.selling.may_reach(int(told) + BACKLOG_MAX)
            await asyncio.sleep(BACKLOG_LOOK_S)

    def _urls(self) -> list[str]:
        return [replica.url for replica in self.replicas if replica.url is not None]

    async def _is_quiet(self) -> bool:
        return self.selling.idle == len(BY_QUEUE) + len(BY_WEBHOOK) and not await self.left()

    async def _has_nothing_left(self) -> bool:
        return not await self.left()


@asynccontextmanager
async def pair_at(place: Place, folder: Path) -> AsyncIterator[Pair]:
    """Two hubs that listen, and sales that come in."""
    names = Names()
    (folder / "routing.yaml").write_text(routing_of(names))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_remove, place.broker, names)
        apart = await stack.enter_async_context(nursery())
        for number in range(2):
            (folder / f"home{number}").mkdir()
        replicas = [await _replica(stack, apart, place, folder / f"home{number}") for number in range(2)]
        for replica in replicas:
            await replica.start()
        pair = Pair(place, names, replicas)
        stack.push_async_callback(pair.close)
        yield pair


async def _replica(stack: AsyncExitStack, apart: Nursery, place: Place, home: Path) -> Replica:
    url, amqp = make_url(place.database), URL(place.broker)
    database = await stack.enter_async_context(proxied(url.host or "", url.port or 5432))
    broker = await stack.enter_async_context(proxied(amqp.host or "", amqp.port or 5672))
    address = url.set(host="127.0.0.1", port=database.port).render_as_string(hide_password=False)
    environ = environment(
        home,
        address,
        HUB_ROUTING=str(home.parent / "routing.yaml"),
        HUB_BROKER_URL=str(
            amqp.with_host("127.0.0.1").with_port(broker.port).update_query(heartbeat=place.heartbeat_s)
        ),
        HUB_LEASE_S=str(place.lease_s),
        HUB_DATABASE_POOL_SIZE=POOL_SIZE,
        HUB_SANDBOX="0",
        TILL_WEBHOOK_KEY=WEBHOOK_KEY,
    )
    return Replica(apart, environ, database, broker)


async def _remove(broker: str, names: Names) -> None:
    """What the hubs have declared, but the dead letters, which others share."""
    async with raw_channel(broker) as channel:
        for queue in names.queues:
            await channel.queue_delete(queue)
        for exchange in names.exchanges:
            await channel.exchange_delete(exchange)
