"""Exchanges of points against a PayPay that takes a tenth of a second: what sets the speed is the calls in flight.

A backlog of exchanges lies ready; the hub starts, gives each, and asks once how it stands. PayPay's sandbox notes when
each call comes. While gifts are asked for, the calls a second, looks among them, stand beside what the bound allows:
calls in flight over the time that a call is there, or the rate. A share near one means that neither a thread, a lock
nor the database held the calls back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from uuid import UUID

import asyncpg
from aiohttp import web
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks import judge
from benchmarks.databases import connected, database
from benchmarks.figures import Figure, Reading, figure_between
from benchmarks.hubs import Site, hub_process, site
from benchmarks.processes import home
from benchmarks.turns import Bench, Run
from handlers.paypay.sandbox import Options, Sandbox
from handlers.paypay.sandbox_books import YEAR_S, Cashback, User
from handlers.paypay.sandbox_serving import serving
from handlers.paypay.tables import PayPaySession
from hub.app import Hub
from schemas.paypay_exchange import BookingMade, ExchangeBody, PointsGranted

LATENCY_S = 0.1
IN_FLIGHT = (1, 2, 4)
PER_S = 10
PLENTY = 10_000
"""Of whatever is not the bound of a run."""
WARM_UP, COOL_DOWN = 0.1, 0.9
"""Of the gifts: between these it is measured. The first wait for the hub's start, the last compete with the looks."""
MEMBERS = 20
POINTS = 100
KEY, SECRET, MERCHANT = "hub_bench_api_key", "aHViLWJlbmNoLXNlY3JldC1ub3QtcmVhbC0wMTIzNDU2Nzg=", "900000000000000001"
DONE_S_MAX = 300.0
POLL_S = 0.2
ROUTING = Path(__file__).parents[1] / "routing.yaml"
PROVIDER = 'paypay: { in_flight: 32, rate: { per_second: "${PAYPAY_RATE_PER_S:-3}" } }'


@dataclass(frozen=True, slots=True)
class Bound:
    """What holds the calls of a run back: how many may be out at once, how many may leave a second."""

    in_flight: int = 32
    per_s: int = PLENTY

    def calls_per_s(self, latency_s: float = LATENCY_S) -> float:
        """The most that this allows where each call is at PayPay's for so long."""
        return min(self.in_flight / latency_s, float(self.per_s))


@dataclass(slots=True)
class Log:
    """When each call came, how long it was there, and how many were there together at most."""

    gifts_s: list[float] = field(default_factory=list)
    calls_s: list[float] = field(default_factory=list)
    stays_s: list[float] = field(default_factory=list)
    most: int = 0

    def stay_s(self) -> float:
        """How long half of the calls were there: its latency, and what it takes to read and to answer them."""
        return median(self.stays_s)

    def gifts_per_s(self) -> float:
        """Gifts a second in the middle of the run."""
        return self._rate_of(self.gifts_s)

    def calls_per_s(self) -> float:
        """Calls a second at that time."""
        return self._rate_of(self.calls_s)

    def _rate_of(self, times_s: list[float]) -> float:
        begin, end = (self.gifts_s[int(len(self.gifts_s) * part)] for part in (WARM_UP, COOL_DOWN))
        return sum(begin <= one < end for one in times_s) / (end - begin)


async def exchanges(bench: Bench) -> None:
    """Exchanges with one, two and four calls in flight, and at a rate."""
    bounds = {f"{number} in flight": Bound(in_flight=number) for number in IN_FLIGHT}
    bounds[f"{PER_S} calls/s"] = Bound(per_s=PER_S)
    contestants: dict[str, Run] = {name: partial(exchanged, name, bound, bench) for name, bound in bounds.items()}
    await bench.take_turns("exchanges", contestants)


async def exchanged(name: str, bound: Bound, bench: Bench) -> Figure:
    """Drain a backlog of exchanges that takes about as long as a phase of the latencies."""
    number = max(MEMBERS, int(bound.calls_per_s() * bench.plan.latency_s))
    log = Log()
    async with database() as url, home() as folder, paypay(log) as (sandbox, paypay_url):
        settings = settings_for(folder, paypay_url, bound)
        async with site(folder, database_url=url, broker_url="", settings=settings) as where:
            await asked(where, sandbox, number)
            async with hub_process(where) as hub:
                start = Reading.of(hub)
                await done(url, number)
                counted = figure_between(
                    start, Reading.of(hub), contestant=name, events=number, peak_mb=hub.peak_mb(), values={}
                )
            judge.refuse(await wrong_with(url, sandbox, number, bound, log))
    return Figure(
        contestant=name,
        events=number,
        per_s=log.gifts_per_s(),
        worker_cpu_s=counted.worker_cpu_s,
        database_cpu_s=counted.database_cpu_s,
        peak_mb=counted.peak_mb,
        values={
            "bound_per_s": bound.calls_per_s(log.stay_s()),
            "calls_per_s": log.calls_per_s(),
            "share_of_bound": log.calls_per_s() / bound.calls_per_s(log.stay_s()),
            "in_flight_most": float(log.most),
        },
    )


@asynccontextmanager
async def paypay(log: Log) -> AsyncIterator[tuple[Sandbox, str]]:
    """A PayPay that takes its time and notes every call."""
    options = Options(api_key=KEY, api_secret=SECRET, merchant=MERCHANT, latency_s=LATENCY_S, decides_s=0.0)
    async with serving(options) as (sandbox, url):
        sandbox.__class__ = _Noting
        assert isinstance(sandbox, _Noting)
        sandbox.log = log
        yield sandbox, url


class _Noting(Sandbox):
    log: Log

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        now_s = time.perf_counter()
        self.log.calls_s.append(now_s)
        if request.method == "POST":
            self.log.gifts_s.append(now_s)
        self.log.most = self.calls_in_flight_most
        try:
            return await super()._answer(request)
        finally:
            self.log.stays_s.append(time.perf_counter() - now_s)


def settings_for(folder: Path, paypay_url: str, bound: Bound) -> Mapping[str, str]:
    """The project's own rules and PayPay, with this bound; the schedules of a few seconds' run do not matter."""
    rules = ROUTING.read_text()
    assert PROVIDER in rules, "routing.yaml says it in other words"
    rate = '"${PAYPAY_RATE_PER_S:-3}"'
    rules = rules.replace(PROVIDER, f"paypay: {{ in_flight: {bound.in_flight}, rate: {{ per_second: {rate} }} }}")
    path = folder / "exchanges.yaml"
    path.write_text(rules.replace("file: tests/", f"file: {ROUTING.parent}/tests/"))
    return {
        "HUB_ROUTING": str(path),
        "PAYPAY_API_KEY": KEY,
        "PAYPAY_API_SECRET": SECRET,
        "PAYPAY_MERCHANT_ID": MERCHANT,
        "PAYPAY_BASE_URL": paypay_url,
        "PAYPAY_RATE_PER_S": str(bound.per_s),
        "SEPAY_WEBHOOK_API_KEY": "bench-webhook-key",
    }


async def asked(where: Site, sandbox: Sandbox, number: int) -> None:
    """Members with points and linked accounts, who have asked for so many exchanges: nobody has called PayPay yet."""
    hub = await Hub.open(where.environ)
    try:
        sessions = [await _member(hub, sandbox, f"m-{one}", number) for one in range(MEMBERS)]
        for one in range(number):
            member, session_id = sessions[one % MEMBERS]
            body = ExchangeBody(member_id=member, session_id=session_id, points=POINTS, idempotency_key=f"k-{one}")
            await hub.api.command("paypay.exchange.request", body, key=member)
    finally:
        await hub.stop()


async def _member(hub: Hub, sandbox: Sandbox, member: str, exchanges: int) -> tuple[str, UUID]:
    now, session_id = hub.clock.now(), hub.clock.new_id()
    granted = PointsGranted(grant_id=f"g-{member}", member_id=member, points=POINTS * exchanges, source="purchase")
    await hub.api.command("member.points.granted", granted, key=member)
    booked = BookingMade(booking_id=f"b-{member}", member_id=member, booked_at=now)
    await hub.api.command("member.booking.made", booked, key=member)
    seconds = int(now.timestamp())
    user = f"user-{member}"
    sandbox.books.keep(
        User(id=user, reference_id=member, scopes=["cashback"], issued_at=seconds, expires_at=seconds + YEAR_S)
    )

    async def work(conn: AsyncConnection) -> None:
        await conn.execute(
            insert(PayPaySession).values(
                id=session_id,
                member_id=member,
                device_type="PC",
                nonce=f"nonce-{member}",
                reference_id=member,
                scopes="cashback",
                redirect_url="https://shop.example/",
                status="LINKED",
                user_authorization_id=user,
                authorization_expires_at=now + timedelta(days=365),
                expires_at=now,
                created_at=now,
                updated_at=now,
            )
        )

    await hub.store.write(work)
    return member, session_id


async def done(url: str, number: int) -> None:
    """Until every exchange has ended."""
    async with connected(url) as connection, asyncio.timeout(DONE_S_MAX):
        while await _ended(connection) < number:  # noqa: ASYNC110 - a database sets no event of ours
            await asyncio.sleep(POLL_S)


async def _ended(connection: asyncpg.Connection) -> int:
    found: int = await connection.fetchval(
        "SELECT count(*) FROM paypay_cashback_request WHERE succeeded_at IS NOT NULL"
    )
    return found


async def wrong_with(url: str, sandbox: Sandbox, number: int, bound: Bound, log: Log) -> list[str]:
    """What is not as it must be; such a run has no figure."""
    gifts = [gift for gift in sandbox.books.all(Cashback) if gift.decision == "SUCCESS"]
    async with connected(url) as connection:
        captured = await connection.fetchval("SELECT coalesce(sum(captured), 0) FROM holds")
        rows = await connection.fetchval("SELECT count(*) FROM paypay_cashback_request")
    given = sum(gift.amount_jpy for gift in gifts)
    found = {
        "exchanges": (rows, number),
        "gifts": (len(gifts), number),
        "yen for captured points": (given, int(captured) // 2),
        "yen": (given, number * POINTS // 2),
    }
    wrong = [f"{name}: {is_} and not {wanted}" for name, (is_, wanted) in found.items() if is_ != wanted]
    return wrong + ([f"{log.most} calls were out at once"] if log.most > bound.in_flight else [])
