"""One run: a real ``hub run``, fed by all systems while old events are pruned, looked at all the time. Begin here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from benchmarks.databases import connected, database
from benchmarks.hubs import free_port
from benchmarks.processes import Child, child
from hub.clock import SystemClock
from hub.errors import HubError
from hub.operate.equation import EquationReport, check
from hub.retention.pruning import Pruner
from hub.seal.verifying import verify_seal
from hub.seal.witness import SealWitness
from hub.settings import normal_database_url
from hub.storage import Storage, StoragePlace
from hub.store.store import Store
from tests.faults.kills.consumers import Consumers, consuming
from tests.faults.kills.flows import Flows
from tests.faults.kills.loymax import FLOW, Loymax
from tests.faults.kills.place import answers, rules
from tests.faults.kills.providers import Providers, played
from tests.faults.kills.run import LEAST, SHARES
from tests.faults.kills.senders import Lines, Pace
from tests.simulation.world import Told
from tests.soak.feeding import EmbeddedConsumers, FlowsByHttp, LoymaxByHttp, emptying
from tests.soak.judging import Line, judged
from tests.soak.measuring import Sample, look
from tests.support.broker_node import broker_node
from tests.support.running import environment

CHECKS: Final = 6
"""At most so often in a run, and once after its end, everything is counted and the books are worked out again.

It reads all rows. The last of these may be due only after the end.
"""

VACUUM_EVERY_S: Final = 60.0
"""As the server does by itself: ``autovacuum_naptime``."""

TOO_FEW: Final = "too few samples to judge"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and where. Seconds: between two looks, how old a finished event may get, between two prunings."""

    events: int
    embedded: bool
    every_s: float = 3.0
    age_s: float = 15.0
    prune_every_s: float = 5.0
    prunes: bool = True
    seed: int = 1


@dataclass
class Outcome:
    """What a run has come to."""

    where: str
    events: int = 0
    seconds: float = 0.0
    archived: int = 0
    checks: int = 0
    lines: list[Line] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


class Soak:
    """All parts of one run."""

    def __init__(self, plan: Plan, folder: Path, say: Say) -> None:
        self.plan = plan
        self.outcome = Outcome("embedded, SQLite" if plan.embedded else "PostgreSQL and RabbitMQ")
        self._folder = folder
        self._say = say
        self._told = Told()
        self._chance = Random(f"soak {plan.seed}")
        pieces = {flow: max(LEAST, round(plan.events * share)) for flow, share in SHARES.items()}
        self._pace = Pace({**pieces, FLOW: max(1, plan.events - sum(pieces.values()))})
        self._begun = time.monotonic()
        self._url = ""
        self.store: Store
        self.hub: Child
        self.loymax: Loymax
        self.consumers: Consumers | EmbeddedConsumers

    async def whole(self) -> Outcome:
        """From the start of the hub to the verdict."""
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            providers = await enter(played(self.plan.seed))
            broker = "" if self.plan.embedded else (await enter(broker_node())).url
            self._url = url = "" if self.plan.embedded else await enter(database())
            home = self._folder / "home"
            home.mkdir()
            (self._folder / "routing.yaml").write_text(rules())
            environ = environment(home, url) | {
                **providers.environ,
                **({"HUB_BROKER_URL": broker} if broker else {}),
                "HOME": str(home),
                "HUB_ROUTING": str(self._folder / "routing.yaml"),
                "HUB_PORT": str(free_port()),
            }
            self.hub = await enter(_running(environ, self._folder))
            self.store = Store.open(normal_database_url(url or f"sqlite:///{home / 'hub.db'}"), pool_size=4)
            stack.push_async_callback(self.store.close)
            lines = await enter(Lines([f"http://127.0.0.1:{environ['HUB_PORT']}"], self._told, self._chance))
            self.consumers = await enter(emptying(self.store) if self.plan.embedded else consuming(broker))
            await self._feed(lines, providers, broker, home)
            self._judge()
        self.outcome.seconds = time.monotonic() - self._begun
        return self.outcome

    async def _feed(self, lines: Lines, providers: Providers, broker: str, home: Path) -> None:
        providers.connect(lines, home)
        loymax, flows = (LoymaxByHttp, FlowsByHttp) if self.plan.embedded else (Loymax, Flows)
        self.loymax = loymax(lines, broker, self._pace, self._told, self._chance, self._backlog)
        others = flows(lines, broker, self._pace, self._told, self._chance, providers)
        await others.prepare()
        self._pace.allow(1.0)
        self._say(f"{self.outcome.where}: the hub is up after {time.monotonic() - self._begun:.0f} s")
        works = [self._look()]
        if self.plan.prunes:
            works.append(self._prune())
        if self._url and not await vacuums_by_itself(self._url):
            self._say(f"autovacuum is off on this server: a vacuum every {VACUUM_EVERY_S:.0f} s stands in for it")
            works.append(self._vacuum())
        beside = [asyncio.create_task(one) for one in works]
        feeding = asyncio.create_task(self._until_all_is_sent(others))
        try:
            # What looks and prunes goes on for ever: it ends first only by an error.
            await asyncio.wait([feeding, *beside], return_when=asyncio.FIRST_COMPLETED)
            for one in beside:
                if one.done():
                    one.result()
            await feeding
            await providers.all_told()
        finally:
            feeding.cancel()
            for one in beside:
                one.cancel()
            await asyncio.gather(feeding, *beside, return_exceptions=True)
        await self._check()
        seal = await verify_seal(self.store)
        self.outcome.violations += [f"the seal: {one}" for one in seal.findings]

    async def _until_all_is_sent(self, others: Flows) -> None:
        await asyncio.gather(self.loymax.run(), others.run())

    def _backlog(self) -> int:
        return len(self.loymax.events) - self.consumers.events_told

    async def _look(self) -> None:
        checked = 0
        while True:
            events = len(self.loymax.events)
            one = await look(self.store, self.hub.pid, at_s=time.monotonic() - self._begun, events=events)
            self.outcome.samples.append(one)
            if self.hub.process.returncode is not None:
                raise RuntimeError(f"the hub has ended with {self.hub.process.returncode}: {self.hub.said()}")
            values = one.values
            self._say(
                f"{one.at_s:5.0f} s {events:8} events {values['rss_mb']:6.0f} MB {values['descriptors']:4.0f} fds"
                f" {values['rows of inbox']:7.0f} rows in the inbox, {self.outcome.archived} archived"
            )
            if events * CHECKS >= self.plan.events * (checked + 1):
                checked += 1
                await self._check()
            await asyncio.sleep(self.plan.every_s)

    async def _check(self) -> None:
        """The counting equation and the books, at one moment, while everything goes on."""
        report: EquationReport = await check(self.store)
        self.outcome.checks += 1
        self.outcome.violations += [f"check {self.outcome.checks}: {one}" for one in report.violations]

    async def _prune(self) -> None:
        storage = Storage(StoragePlace(place=str(self._folder / "archive")))
        clock = SystemClock()
        pruner = Pruner(self.store, storage, clock, witness=SealWitness(clock))
        while True:
            try:
                self.outcome.archived += (await pruner.run(timedelta(seconds=self.plan.age_s))).events
            except HubError as error:
                # The database may be busy for once; a pruning that never comes about shows in the rows.
                self._say(f"not pruned: {error}")
            await asyncio.sleep(self.plan.prune_every_s)

    async def _vacuum(self) -> None:
        """Without it no table uses the room of deleted rows again."""
        async with connected(self._url) as conn:
            while True:
                await asyncio.sleep(VACUUM_EVERY_S)
                await conn.execute("VACUUM (ANALYZE)")

    def _judge(self) -> None:
        self.outcome.events = len(self.loymax.events)
        self.outcome.lines = judged(self.outcome.samples)
        if not self.outcome.lines:
            self.outcome.violations.append(TOO_FEW)
        for line in self.outcome.lines:
            if not line.holds:
                self.outcome.violations.append(
                    f"{line.name} grows: {line.gained:.1f} in the second half, at most {line.allowed:.1f}"
                )
        refused = [one for one in self._told.refused if one[1] >= 500]
        self.outcome.violations += [f"refused: {one}" for one in refused[:5]]


async def vacuums_by_itself(url: str) -> bool:
    """Whether the server has its autovacuum on."""
    async with connected(url) as conn:
        is_on: bool = await conn.fetchval("SHOW autovacuum") == "on"
    return is_on


@asynccontextmanager
async def _running(environ: dict[str, str], folder: Path) -> AsyncIterator[Child]:
    async def is_ready(_: Child) -> bool:
        return await answers(int(environ["HUB_PORT"]))

    arguments = ["-m", "hub", "run", "--log-level", "warning", "--log-json"]
    async with child(arguments, home=folder, environ=environ, is_ready=is_ready) as running:
        yield running
