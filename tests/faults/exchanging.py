"""Members who exchange points at two hubs, while PayPay misbehaves in every way and the hubs are killed.

Time runs ``SPEED`` times as fast for the hubs and PayPay, so that pauses of ten minutes pass in seconds. Who asks
for an exchange and gets no whole answer asks again, with the same key, at whichever hub lives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from handlers.paypay.sandbox import Options
from handlers.paypay.sandbox_books import YEAR_S, Cashback, User
from handlers.paypay.sandbox_faults import ALL
from handlers.paypay.sandbox_serving import serving
from tests.faults.books import reading
from tests.faults.exchange_judge import Asked, Figure, Gift, judge_exchanges, open_exchanges
from tests.faults.nursery import LifeApart, Nursery, Order, nursery
from tests.support.clock import FastClock
from tests.support.patience import until
from tests.support.paypay import API_KEY as PAYPAY_KEY
from tests.support.paypay import API_SECRET, MERCHANT, OwnTimeSandbox, variables_for
from tests.support.running import API_KEY, PROJECT, environment

SPEED = {False: 960.0, True: 240.0}
"""By whether it is the long run: there a day, after which an exchange is a person's, must not be over too soon."""
FAULTS = 0.2
"""The chance of each request to meet one of the sandbox's faults."""
LEASE_S = 5.0
SENDERS = 6
OPEN_MAX = 100
"""Exchanges under way at once: PayPay's pauses let those in that have gathered, and no more than these need gather."""
AGAIN_S = 0.05
ANSWER_S_MAX = 10.0
STILL_S_MAX = 240.0
LIFE_S_MAX = 7_200
POOL_SIZE = "5"
PURSE = 10**9
ACCEPTED = (200, 202)
LATER = (429, 500, 502, 503)
NONCE = "nonce-of-"


class Trial:
    """Two hubs, a PayPay, and members with more points than they will ever exchange."""

    def __init__(
        self,
        database: str,
        environs: Sequence[dict[str, str]],
        apart: Nursery,
        sandbox: OwnTimeSandbox,
        clock: FastClock,
    ) -> None:
        self.database = database
        self.sandbox = sandbox
        self.asked: list[Asked] = []
        self.kills = 0
        self._environs = environs
        self._apart = apart
        self._clock = clock
        self._lives: list[LifeApart] = []
        self._sessions: dict[str, UUID] = {}
        self._numbers = count()

    async def begin(self, members: int) -> None:
        """Both hubs live, and the members have booked, have points and are linked."""
        self._lives = [await self._born(environ) for environ in self._environs]
        async with aiohttp.ClientSession() as http:
            for number in range(members):
                await self._give(http, f"m-{number}")
        for number in range(members):
            await self._link(f"m-{number}", "APP" if number % 2 else "PC")
        await until(lambda: self._are_ready(members), "members with points", deadline_s=STILL_S_MAX)

    async def exchange(self, exchanges: int, chance: Random, *, kills: int) -> None:
        """So many exchanges are accepted, and on the way so many hubs killed, each at a moment up to chance."""
        self.sandbox.faults.chances[ALL] = FAULTS
        moments = sorted(chance.sample(range(1, exchanges), kills))
        async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as http:
            killing = tasks.create_task(self._kill_at(moments, chance))
            senders = [tasks.create_task(self._send(http, exchanges, chance.random())) for _ in range(SENDERS)]
            for sender in senders:
                await sender
            await killing

    async def end(self) -> tuple[Figure, list[str]]:
        """Wait until every exchange has ended or a person was told, end both hubs, and ask the judge."""
        await until(self._has_ended, "every exchange to end", deadline_s=STILL_S_MAX, pause_s=0.2, moves=self._progress)
        for life in self._lives:
            await life.die()
        gifts = [Gift(one.id, one.amount_jpy, one.decision) for one in self.sandbox.books.all(Cashback)]
        async with reading(self.database) as books:
            return await judge_exchanges(books, self.asked, gifts)

    async def _born(self, environ: dict[str, str]) -> LifeApart:
        order = Order(scene="plain", life_s_max=LIFE_S_MAX, speed=self._clock.speed, started_s=self._clock.started_s)
        life = self._apart.life(order)
        await life.begin(environ)
        assert life.ended is None, "the hub does not start; HUB_TEST_LOG_LEVEL=0 shows why"
        assert life.url is not None
        self.sandbox.notices.hub_url = life.url
        return life

    async def _kill_at(self, moments: Sequence[int], chance: Random) -> None:
        for moment in moments:
            await until(
                partial(self._has_asked, moment), "more to ask for", deadline_s=STILL_S_MAX, moves=self._progress
            )
            victim = chance.randrange(len(self._lives))
            await self._lives[victim].die()
            self.kills += 1
            self._lives[victim] = await self._born(self._environs[victim])

    def _has_asked(self, number: int) -> bool:
        return len(self.asked) >= number

    async def _send(self, http: aiohttp.ClientSession, exchanges: int, seed: float) -> None:
        chance = Random(seed)
        while (number := next(self._numbers)) < exchanges:
            await until(self._may_ask, "exchanges to end", deadline_s=STILL_S_MAX, pause_s=0.2, moves=self._progress)
            member = f"m-{number % len(self._sessions)}"
            one = Asked(f"k-{number}", member, "APP" if int(member[2:]) % 2 else "PC", 100 * (1 + number % 5))
            while not await self._ask(http, one, chance):  # noqa: ASYNC110 - a hub in another process says yes
                await asyncio.sleep(AGAIN_S)
            self.asked.append(one)

    async def _ask(self, http: aiohttp.ClientSession, one: Asked, chance: Random) -> bool:
        """Ask once, one of the hubs that live; whether it said yes."""
        body = {
            "member_id": one.member,
            "session_id": str(self._sessions[one.member]),
            "points": one.points,
            "idempotency_key": one.key,
        }
        url = chance.choice([life.url for life in self._lives]) or ""
        return await self._posted(http, f"{url}/api/v1/paypay/cashback", body)

    async def _posted(self, http: aiohttp.ClientSession, url: str, body: object, **headers: str) -> bool:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        try:
            async with http.post(
                url, json=body, headers={"Authorization": f"Bearer {API_KEY}", **headers}, timeout=timeout
            ) as response:
                assert response.status in (*ACCEPTED, *LATER), (response.status, await response.text())
                return response.status in ACCEPTED
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _give(self, http: aiohttp.ClientSession, member: str) -> None:
        """The shop gives a member points, for a booking."""
        url = f"{self._lives[0].url}/events"
        booked = {"booking_id": f"b-{member}", "member_id": member, "booked_at": self._clock.now().isoformat()}
        granted = {"grant_id": f"g-{member}", "member_id": member, "points": PURSE, "source": "purchase"}
        for type_, body in (("member.booking.made", booked), ("member.points.granted", granted)):
            event = {
                "ce-specversion": "1.0",
                "ce-id": f"{type_}-{member}",
                "ce-source": "shop-members",
                "ce-type": type_,
            }
            assert await self._posted(http, url, body, **event)

    async def _link(self, member: str, device: str) -> None:
        """A member who has linked an account before all this began: both sides know it."""
        now, session_id = self._clock.now(), uuid4()
        seconds = int(now.timestamp())
        self.sandbox.books.keep(
            User(
                id=f"user-{member}",
                reference_id=member,
                scopes=["cashback"],
                issued_at=seconds,
                expires_at=seconds + YEAR_S,
            )
        )
        self._sessions[member] = session_id
        connection = await asyncpg.connect(f"postgresql://{self.database.partition('://')[2]}")
        try:
            await connection.execute(
                "INSERT INTO paypay_sessions (id, member_id, device_type, nonce, reference_id, scopes, redirect_url,"
                " status, user_authorization_id, authorization_expires_at, expires_at, created_at, updated_at)"
                " VALUES ($1, $2, $3, $4, $2, 'cashback', 'https://shop.example/', 'LINKED', $5, $6, $7, $7, $7)",
                *(session_id, member, device, f"{NONCE}{member}", f"user-{member}", now + timedelta(days=365), now),
            )
        finally:
            await connection.close()

    async def _are_ready(self, members: int) -> bool:
        async with reading(self.database) as books:
            [[lots, bookings]] = await books.rows(
                "SELECT (SELECT count(*) FROM entries WHERE reference LIKE 'paypay:grant:%'),"
                " (SELECT count(*) FROM paypay_member_bookings)"
            )
        return (lots, bookings) == (members, members)

    async def _may_ask(self) -> bool:
        async with reading(self.database) as books:
            return await open_exchanges(books) < OPEN_MAX

    async def _has_ended(self) -> bool:
        for life in self._lives:
            assert not life.is_odd, f"a hub ended by itself with code {life.ended}"
        async with reading(self.database) as books:
            [[stored]] = await books.rows("SELECT count(*) FROM paypay_cashback_request")
            return stored >= len(self.asked) and await open_exchanges(books) == 0

    async def _progress(self) -> object:
        """Changes as long as PayPay is asked, and exchanges end."""
        async with reading(self.database) as books:
            states = await books.rows("SELECT status, count(*) FROM paypay_cashback_request GROUP BY 1 ORDER BY 1")
        return [tuple(row) for row in states], self.sandbox.calls


@asynccontextmanager
async def trial_on(database: str, folder: Path, *, seed: int, speed: float) -> AsyncIterator[Trial]:
    """Two hubs that do not live yet on this database, and a PayPay that does."""
    clock = FastClock(speed, time.time())
    options = Options(
        api_key=PAYPAY_KEY, api_secret=API_SECRET, merchant=MERCHANT, hang_s=0.3, late_s=1.0, decides_s=2.0, seed=seed
    )
    async with AsyncExitStack() as stack:
        sandbox, url = await stack.enter_async_context(serving(options))
        sandbox.__class__ = OwnTimeSandbox
        assert isinstance(sandbox, OwnTimeSandbox)
        sandbox.clock = lambda: clock.now().timestamp()
        routing = folder / "routing.yaml"
        routing.write_text(_rules())
        apart = await stack.enter_async_context(nursery())
        environs = []
        for number in range(2):
            home = folder / f"home{number}"
            home.mkdir()
            environs.append(
                environment(
                    home,
                    database,
                    **variables_for(url),
                    HUB_ROUTING=str(routing),
                    HUB_LEASE_S=str(LEASE_S),
                    HUB_DATABASE_POOL_SIZE=POOL_SIZE,
                    HUB_SANDBOX="0",
                    PAYPAY_RATE_PER_S="10000",
                    PAYPAY_HINTS_PER_S="1000",
                    PAYPAY_WEBHOOKS_PER_MINUTE="1000000",
                )
            )
        yield Trial(database, environs, apart, sandbox, clock)


def _rules() -> str:
    """The project's own rules; of the schedules only PayPay's sweep, as the others' days would pass in minutes."""
    lines = (PROJECT / "routing.yaml").read_text().replace("file: tests/", f"file: {PROJECT}/tests/").splitlines()
    start = lines.index("schedules:")
    kept = [
        line if "sweep-paypay" in line else line.split("cron:")[0] + 'cron: "0 0 29 2 *"' + line[line.rindex('"') + 1 :]
        for line in lines[start + 1 :]
        if "cron:" in line
    ]
    return "\n".join([*lines[: start + 1], *kept]) + "\n"
