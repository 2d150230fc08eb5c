"""The hub put together: settings, wiring, store, and the loops that make it work. Begin here.

webhook, POST /events ─► ingress ─► GroupCommit ─► inbox + deliveries ─► Worker ─► ledger, outbox ─► Relay ─► queues
timers, schedules ─────► Scheduler ───────┘              ▲                  │
                                                         └── events that handlers emit
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from hub.api import HubApi
from hub.capability import CheckResult
from hub.clock import Clock, SystemClock
from hub.deliver.backlog import Backlog, BacklogWatch
from hub.deliver.context import Surroundings
from hub.deliver.registry import Rules
from hub.errors import ConfigError, StoreUnavailableError
from hub.flow.flow import Flow
from hub.inbox.accept import GroupCommit
from hub.inbox.consumer import QueueConsumer
from hub.inbox.route_ids import register_routes
from hub.ingress.endpoints import EndpointTable
from hub.ingress.health import figures
from hub.ingress.processes import Processes
from hub.ingress.server import IngressDeps, Serving, build_app, build_probes, serve
from hub.ingress.tokens import Doorman
from hub.measuring import Measuring
from hub.operate.watch import ListsWatch
from hub.owner import KIND_OF_ROLE, Owner
from hub.ownership.holding import DELIVER, RELAY, Kind
from hub.ownership.wakeups import Wakeups
from hub.plan import Plan
from hub.routing.sources import QueueConfig
from hub.schedule.scheduler import Scheduler
from hub.seal.sealer import Sealer
from hub.signal import LaneSignal, SharedSignal
from hub.store.health import check_database
from hub.store.readiness import prepare
from hub.store.store import Store
from hub.store.words import words_for_logs
from hub.transports import Transport, TransportUnavailableError
from hub.transports.opening import open_transport
from hub.transports.topology import Topology, topology_of
from hub.wiring import Wiring, load_wiring

if TYPE_CHECKING:
    from hub.retention.archive import Archive

ROLES = ("ingress", "worker", "relay", "scheduler")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A queue that is read, as its source declared it, until ``stopping`` is set."""

    queue: QueueConfig
    stopping: asyncio.Event


class Hub:
    """One process of the hub: ``open`` reads and connects, ``start`` sets the loops going, ``stop`` ends in order."""

    def __init__(self, plan: Plan, store: Store, clock: Clock) -> None:
        self._plan = plan
        self.settings = settings = plan.settings
        self.environment = plan.environment
        self.wiring = plan.wiring
        self.store = store
        self.clock = clock
        self.api = HubApi(self)
        self.doorman = Doorman.of(settings)
        self.wakeups = Wakeups(settings.database_direct, hear=self._hear, look_soon=self._look_soon)
        self.to_deliver = self._signal(DELIVER)
        self.to_publish = self._signal(RELAY)
        self.table = EndpointTable()
        self.around = Surroundings(
            store=store,
            clock=clock,
            drafter=lambda: self.wiring.drafter,
            destinations=lambda: self.wiring.destinations,
            settings_of=self.settings_of,
            flow=Flow(store, clock, lambda: self.wiring.providers),
        )
        self.rules: Rules
        self.transport: Transport
        self.serving: Serving | None = None
        self.probes: Serving | None = None
        self.backlog = BacklogWatch(store, clock)
        self.measuring = Measuring(plan.wiring.capabilities.members, self.api)
        self.failed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._retention = plan.retention
        self.owner: Owner | None = None
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._reading: dict[tuple[str, str], _Reading] = {}
        self.acceptor = GroupCommit(
            store,
            clock,
            lambda: self.wiring.drafter,
            lambda: self.rules.route_ids,
            self.to_deliver,
            queue_max=settings.inbox_queue_max,
            recent=self.around.recent_events,
        )
        self._scheduler: Scheduler | None = None
        self._sealer: Sealer | None = None
        self._processes: Processes | None = None

    @classmethod
    async def open(cls, environ: Mapping[str, str], *, clock: Clock | None = None, plan: Plan | None = None) -> Hub:
        """Read the settings and routing.yaml, open and upgrade the database, declare the topology.

        With a ``plan`` nothing is read again. Raises ConfigError with every mistake that was found;
        StoreUnavailableError when the database is away.
        """
        the_clock = clock or SystemClock()
        plan = plan or Plan.read(environ, the_clock)
        settings = plan.settings
        settings.home.mkdir(parents=True, exist_ok=True)
        store = Store.open(
            settings.database,
            pool_size=settings.database_pool_size,
            busy_timeout_s=settings.database_busy_timeout_s,
            is_pooled=settings.is_database_pooled,
        )
        try:
            hub = cls(plan, store, the_clock)
            await hub._prepare()
        except BaseException:
            await store.close()
            raise
        return hub

    async def _prepare(self) -> None:
        may_upgrade = self.settings.database_upgrade
        await prepare(self.store, self.wiring.capabilities.members, may_upgrade=may_upgrade)
        self.rules = await self._number_routes(self.wiring)
        self.table.replace(self.wiring.config.sources, self.wiring.capabilities.schemes)
        settings = self.settings
        self.transport = open_transport(settings.broker, self.store, self.clock, settings.broker_prefetch)
        try:
            await self.transport.declare(topology_of(self.wiring.config))
        except TransportUnavailableError as error:
            # Webhooks are taken all the same; the transport declares as soon as it can.
            log.warning("broker_awaited", error=str(error))
        except BaseException:
            await self.transport.close()
            raise

    async def _number_routes(self, wiring: Wiring) -> Rules:
        return wiring.rules(await self.store.write(lambda conn: register_routes(conn, wiring.router.routes)))

    def settings_of(self, capability: str) -> Any:
        """The settings object of a capability."""
        return self._plan.capability_settings[capability]

    @property
    def plan(self) -> Plan:
        """What it goes by now: with the rules of the last reload."""
        return replace(self._plan, wiring=self.wiring)

    @property
    def archive(self) -> Archive:
        """Where events are that have left the tables."""
        from hub.retention.archive import Archive  # noqa: PLC0415 - for those who look at old events
        from hub.storage import Storage  # noqa: PLC0415 - as above

        return Archive(self.store, Storage(self._retention.archive))

    async def start(
        self,
        roles: Sequence[str] = ROLES,
        *,
        listening: socket.socket | None = None,
        processes: Processes | None = None,
    ) -> None:
        """Set the loops of these roles going. Raises ConfigError when the port cannot be had.

        ``listening``: a socket that listens already, shared with other ``processes``.
        """
        self._processes = processes
        if "worker" not in roles:
            self.around.recent_events.close()
        if "relay" not in roles:
            self.around.recent_messages.close()
        self.wakeups.start()
        self._spawn("acceptor", self.acceptor.run())
        self._spawn("backlog", self.backlog.run(self._stopping))
        self._spawn("lists", ListsWatch(self.store, self.clock).run(self._stopping))
        if "ingress" in roles:
            await self._serve(listening)
            self._spawn("measures", self.measuring.run(self._stopping))
            self._consume()
        elif self.settings.probes_port is not None:
            await self._answer_probes(self.settings.probes_port)
        if set(roles) & set(KIND_OF_ROLE):
            self.owner = self._new_owner(roles)
            self._spawn("owner", self.owner.run())
        if "scheduler" in roles:
            self._scheduler = Scheduler(
                self.store,
                self.clock,
                drafter=lambda: self.wiring.drafter,
                route_ids=lambda: self.rules.route_ids,
                schedules=lambda: self.wiring.schedules,
                to_deliver=self.to_deliver,
            )
            self._spawn("scheduler", self._scheduler.run())
            if self.settings.seal_s is not None:
                self._sealer = Sealer(self.store, self.clock, interval_s=self.settings.seal_s)
                self._spawn("sealer", self._sealer.run())
            if self._retention.retention_days is not None:
                from hub.retention.loop import Pruning  # noqa: PLC0415 - only where events leave the tables
                from hub.retention.opening import witness_of  # noqa: PLC0415 - as above

                witness = witness_of(self.settings, self.clock)
                pruning = Pruning(self.store, self.clock, self._retention, witness=witness)
                self._spawn("pruning", pruning.run(self._stopping))
        if self.settings.sandbox:
            for one in self.wiring.capabilities.members:
                if one.sandbox is not None:
                    await one.sandbox(self.api)

    async def _serve(self, listening: socket.socket | None) -> None:
        routes = [
            route for one in self.wiring.capabilities.members if one.http is not None for route in one.http(self.api)
        ]
        deps = IngressDeps(
            settings=self.settings,
            clock=self.clock,
            acceptor=self.acceptor,
            doorman=self.doorman,
            table=self.table,
            ready=self.ready,
            routes=routes,
            processes=self._processes,
            replies={
                source: partial(add, self.api)
                for one in self.wiring.capabilities.members
                for source, add in one.replies.items()
            },
            console=self._console_maker(),
            published=lambda: self.wiring.published,
        )
        deps.registry.register(self.measuring)
        app = build_app(deps)
        if self._processes is not None:
            await self._processes.start(partial(figures, app))
        self.serving = await serve(app, self.settings.host, self.settings.port, listening=listening)

    def _console_maker(self) -> Callable[[], Awaitable[web.Application]] | None:
        if self.settings.console == "off":
            return None
        from hub.console.people import People  # noqa: PLC0415 - not every process serves pages

        # Users of the settings that cannot be read are told at the start.
        People(self.store, self.settings, self.doorman.keys, self._plan.oidc)
        return self._make_console

    async def _make_console(self) -> web.Application:
        # The pages and what renders them are megabytes and take their time to load; webhooks do not wait for it.
        await asyncio.to_thread(importlib.import_module, "hub.console.app")
        from hub.console.app import Console  # noqa: PLC0415 - just loaded

        return Console(self).application()

    async def _answer_probes(self, port: int) -> None:
        """Let a process that takes nothing in be watched all the same."""
        deps = IngressDeps(
            settings=self.settings,
            clock=self.clock,
            acceptor=self.acceptor,
            doorman=self.doorman,
            table=self.table,
            ready=self.ready,
            processes=self._processes,
        )
        app = build_probes(deps)
        if self._processes is not None:
            await self._processes.start(partial(figures, app))
        try:
            self.probes = await serve(app, self.settings.host, port)
            log.info("probes_answered", url=self.probes.url)
        except ConfigError:
            # Of several processes one has the port, and tells of all.
            if self._processes is None:
                raise

    def _consume(self) -> None:
        """Read the queues that the sources name, and no longer those that they have stopped naming."""
        sources = self.wiring.config.sources.items()
        wanted = {(name, source.queue.name): source.queue for name, source in sources if source.queue is not None}
        for key, reading in list(self._reading.items()):
            # A queue that is declared otherwise (as other partitions) is read anew: it may be other queues by now.
            if wanted.get(key) != reading.queue:
                del self._reading[key]
                reading.stopping.set()
        for key in sorted(wanted.keys() - self._reading.keys()):
            stopping = asyncio.Event()
            self._reading[key] = _Reading(wanted[key], stopping)
            pace = partial(self.around.pace.wait, self.around.recent_events.__len__)
            consumer = QueueConsumer(*key, self.transport, self.acceptor, pace=pace)
            loop = partial(consumer.run, stopping)
            name = f"queue {key[1]} of {key[0]}"
            self._spawn(name, _after(self._loops.get(name), loop), until=stopping)

    def _new_owner(self, roles: Sequence[str]) -> Owner:
        return Owner(
            self.around,
            lambda: self.rules,
            self.transport,
            lambda: self.wiring.destinations,
            self.settings,
            roles=roles,
            to_deliver=self.to_deliver,
            to_publish=self.to_publish,
            on_change=self.wakeups.tell_change,
        )

    def _signal(self, kind: Kind) -> LaneSignal:
        """Lanes with work of this kind: ours are noted here, those of others are told to them."""
        return SharedSignal(
            lambda lane: self.owner is not None and self.owner.is_ours(kind, lane),
            lambda lanes: self.wakeups.tell(kind, lanes),
        )

    def _hear(self, kind: Kind, lanes: Sequence[int]) -> None:
        (self.to_deliver if kind == DELIVER else self.to_publish).note(lanes)

    def _look_soon(self) -> None:
        if self.owner is not None:
            self.owner.look_soon()

    async def reload(self) -> None:
        """Take over a changed routing.yaml, all or nothing. Raises ConfigError, and then nothing has changed.

        The list of capabilities is fixed at start.
        """
        wiring = load_wiring(self.settings.routing, self.environment, self.clock)
        if wiring.config.capabilities != self.wiring.config.capabilities:
            message = f"capabilities: the hub runs with {', '.join(self.wiring.config.capabilities) or 'none'}"
            message += "; a change of this list needs a restart, and nothing of the file was taken over"
            raise ConfigError([wiring.loaded.problem(("capabilities",), message)])
        rules = await self._number_routes(wiring)
        # What the relay has in hand still goes where the old rules send it: their bindings go last.
        old, new = topology_of(self.wiring.config), topology_of(wiring.config)
        try:
            await self.transport.declare(new.beside(old))
        except TransportUnavailableError as error:
            raise ConfigError(f"nothing was changed: {error}") from error
        self.table.replace(wiring.config.sources, wiring.capabilities.schemes)
        self.wiring, self.rules = wiring, rules
        if self.serving is not None:
            self._consume()
        log.info("routing_reloaded", routes=len(wiring.router.routes))
        await self._forget(old, new)

    async def _forget(self, old: Topology, new: Topology) -> None:
        """Take away the bindings that only the former rules had."""
        if old == new:
            return
        if self.owner is not None and self.owner.relay is not None:
            await self.owner.relay.round_ended()
        try:
            await self.transport.declare(new, takes_away=True)
        except (StoreUnavailableError, TransportUnavailableError) as error:
            # They feed queues that nobody publishes to any more; the next reload takes them away.
            log.warning("old_bindings_kept", error=str(error))

    def first_steps(self) -> list[str]:
        """What the capabilities propose to try first, one line each."""
        return [line for one in self.wiring.capabilities.members for line in one.first_steps]

    async def ready(self) -> list[CheckResult]:
        """How the parts are: the database, the lanes, the backlog of the inbox, the loops."""
        checks = [await check_database(self.store)]
        checks.append(
            self.owner.check() if self.owner is not None else CheckResult("lanes", ok=True, detail="not ours")
        )
        waiting = self.acceptor.waiting
        checks.append(_backlog_check(self.backlog.latest))
        # An absent broker does not make a process unready: it would only lose the webhooks as well.
        checks.append(CheckResult("broker", ok=True, detail=await self.transport.state()))
        checks.append(CheckResult("inbox", waiting < self.settings.inbox_queue_max, f"{waiting} wait for a commit"))
        dead = sorted(name for name, task in self._loops.items() if task.done())
        checks.append(CheckResult("loops", not dead, f"ended: {', '.join(dead)}" if dead else "running"))
        return checks

    async def stop(self, deadline_s: float | None = None) -> None:
        """Stop in order: take nothing new, finish what is in hand, send what is ready, close."""
        deadline_s = self.settings.stop_deadline_s if deadline_s is None else deadline_s
        end = self.clock.monotonic() + deadline_s
        self._stopping.set()
        for reading in self._reading.values():
            reading.stopping.set()
        if self.serving is not None:
            await self.serving.stop(max(0.1, (end - self.clock.monotonic()) / 2))
        if self.probes is not None:
            await self.probes.stop(0.1)
        if self._processes is not None:
            await self._processes.stop()
        self.acceptor.stop()
        if self._scheduler is not None:
            self._scheduler.stop()
        if self._sealer is not None:
            self._sealer.stop()
        if self.owner is not None:
            await self.owner.stop(lambda: max(0.2, end - self.clock.monotonic()))
        await self._end_loops(end)
        if self.owner is not None:
            await self.owner.leave(in_order=not self.failed.is_set())
        await self.wakeups.close()
        await self.transport.close()
        await self.store.close()

    async def _end_loops(self, end: float) -> None:
        if self._loops:
            await asyncio.wait(self._loops.values(), timeout=max(0.1, end - self.clock.monotonic()))
        for task in self._loops.values():
            task.cancel()
        if self._loops:
            await asyncio.wait(self._loops.values(), timeout=2.0)

    def _spawn(self, name: str, loop: Any, *, until: asyncio.Event | None = None) -> None:
        """Run a loop, which ends with the hub or, where ``until`` is given, once that is set."""
        task = asyncio.create_task(loop, name=name)
        self._loops[name] = task
        task.add_done_callback(partial(self._loop_ended, until or self._stopping))

    def _loop_ended(self, until: asyncio.Event, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._stopping.is_set():
            return
        error = task.exception()
        if error is None and until.is_set():
            if self._loops.get(task.get_name()) is task:
                del self._loops[task.get_name()]
            return
        log.error("loop_ended", loop=task.get_name(), error=words_for_logs(error) if error else "", exc_info=error)
        # A hub without one of its loops only looks alive: the process ends, and its supervisor starts a new one.
        self.failed.set()


async def _after(former: asyncio.Task[None] | None, loop: Callable[[], Awaitable[None]]) -> None:
    """Run the loop once its predecessor has ended: two readers of one queue would lose its order."""
    if former is not None:
        await asyncio.wait({former})
    await loop()


def _backlog_check(backlog: Backlog | None) -> CheckResult:
    """A backlog does not make a process unready: it would only lose a worker. The figures are for people."""
    if backlog is None:
        return CheckResult("backlog", ok=True, detail="not looked at yet")
    counts = ", ".join(f"{count} {state}" for state, count in backlog.deliveries.items() if count) or "nothing waits"
    return CheckResult("backlog", ok=True, detail=f"{counts}; oldest ready {backlog.oldest_s:.0f} s")
