"""The hub put together: settings, wiring, store, and the loops that make it work. Begin here.

``loops.py`` watches over the loops, ``doors.py`` opens what is answered over HTTP, ``reading.py`` reads queues.

webhook, POST /events ─► ingress ─► GroupCommit ─► inbox + deliveries ─► Worker ─► ledger, outbox ─► Relay ─► queues
timers, schedules ─────► Scheduler ───────┘              ▲                  │
                                                         └── events that handlers emit
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from hub.api import HubApi
from hub.capability import CheckResult
from hub.clock import Clock, SystemClock
from hub.deliver.backlog import Backlog, BacklogWatch
from hub.deliver.context import Surroundings
from hub.deliver.registry import Rules
from hub.doors import Doors
from hub.errors import ConfigError, StoreUnavailableError
from hub.flow.flow import Flow
from hub.inbox.accept import GroupCommit
from hub.inbox.route_ids import register_routes
from hub.ingress.endpoints import EndpointTable
from hub.ingress.processes import Processes
from hub.ingress.server import Serving
from hub.ingress.tokens import Doorman
from hub.loops import Loops
from hub.measuring import Measuring
from hub.operate.watch import ListsWatch
from hub.owner import KIND_OF_ROLE, Owner
from hub.ownership.holding import DELIVER, RELAY, Kind
from hub.ownership.wakeups import Wakeups
from hub.plan import Plan
from hub.reading import Reading
from hub.schedule.scheduler import Scheduler
from hub.seal.sealer import Sealer
from hub.signal import LaneSignal, SharedSignal
from hub.store.health import check_database
from hub.store.readiness import prepare
from hub.store.store import Store
from hub.transports import Transport, TransportUnavailableError
from hub.transports.opening import open_transport
from hub.transports.topology import Topology, topology_of
from hub.wiring import Wiring, load_wiring

if TYPE_CHECKING:
    from hub.retention.archive import Archive

ROLES = ("ingress", "worker", "relay", "scheduler")

log = structlog.get_logger(__name__)


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
        self.backlog = BacklogWatch(store, clock)
        self.measuring = Measuring(plan.wiring.capabilities.members, self.api)
        self._stopping = asyncio.Event()
        self._loops = Loops(self._stopping)
        self.failed = self._loops.failed
        self._retention = plan.retention
        self.owner: Owner | None = None
        self.acceptor = GroupCommit(
            store,
            clock,
            lambda: self.wiring.drafter,
            lambda: self.rules.route_ids,
            self.to_deliver,
            queue_max=settings.inbox_queue_max,
            recent=self.around.recent_events,
        )
        self.doors: Doors | None = None
        self._reading: Reading | None = None
        self._scheduler: Scheduler | None = None
        self._sealer: Sealer | None = None

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
    def serving(self) -> Serving | None:
        """The server that takes events in, where this process has one."""
        return None if self.doors is None else self.doors.serving

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
        if "worker" not in roles:
            self.around.recent_events.close()
        if "relay" not in roles:
            self.around.recent_messages.close()
        self.wakeups.start()
        self._loops.spawn("acceptor", self.acceptor.run())
        self._loops.spawn("backlog", self.backlog.run(self._stopping))
        self._loops.spawn("lists", ListsWatch(self.store, self.clock).run(self._stopping))
        self.doors = Doors(self, processes)
        if "ingress" in roles:
            await self.doors.open(listening)
            self._loops.spawn("measures", self.measuring.run(self._stopping))
            pace = partial(self.around.pace.wait, self.around.recent_events.__len__)
            self._reading = Reading(self._loops, self.transport, self.acceptor, pace)
            self._reading.follow(self.wiring.config.sources)
        elif self.settings.probes_port is not None:
            await self.doors.open_probes(self.settings.probes_port)
        if set(roles) & set(KIND_OF_ROLE):
            self.owner = self._new_owner(roles)
            self._loops.spawn("owner", self.owner.run())
        if "scheduler" in roles:
            self._start_scheduling()
        if self.settings.sandbox:
            for one in self.wiring.capabilities.members:
                if one.sandbox is not None:
                    await one.sandbox(self.api)

    def _start_scheduling(self) -> None:
        self._scheduler = Scheduler(
            self.store,
            self.clock,
            drafter=lambda: self.wiring.drafter,
            route_ids=lambda: self.rules.route_ids,
            schedules=lambda: self.wiring.schedules,
            to_deliver=self.to_deliver,
        )
        self._loops.spawn("scheduler", self._scheduler.run())
        if self.settings.seal_s is not None:
            self._sealer = Sealer(self.store, self.clock, interval_s=self.settings.seal_s)
            self._loops.spawn("sealer", self._sealer.run())
        if self._retention.retention_days is not None:
            from hub.retention.loop import Pruning  # noqa: PLC0415 - only where events leave the tables
            from hub.retention.opening import witness_of  # noqa: PLC0415 - as above

            witness = witness_of(self.settings, self.clock)
            pruning = Pruning(self.store, self.clock, self._retention, witness=witness)
            self._loops.spawn("pruning", pruning.run(self._stopping))

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
        if self._reading is not None:
            self._reading.follow(wiring.config.sources)
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
        checks.append(self._loops.check())
        return checks

    async def stop(self, deadline_s: float | None = None) -> None:
        """Stop in order: take nothing new, finish what is in hand, send what is ready, close."""
        deadline_s = self.settings.stop_deadline_s if deadline_s is None else deadline_s
        end = self.clock.monotonic() + deadline_s
        self._stopping.set()
        if self._reading is not None:
            self._reading.stop()
        if self.doors is not None:
            await self.doors.close(max(0.1, (end - self.clock.monotonic()) / 2))
        self.acceptor.stop()
        if self._scheduler is not None:
            self._scheduler.stop()
        if self._sealer is not None:
            self._sealer.stop()
        if self.owner is not None:
            await self.owner.stop(lambda: max(0.2, end - self.clock.monotonic()))
        await self._loops.end(max(0.1, end - self.clock.monotonic()))
        if self.owner is not None:
            await self.owner.leave(in_order=not self.failed.is_set())
        await self.wakeups.close()
        await self.transport.close()
        await self.store.close()


def _backlog_check(backlog: Backlog | None) -> CheckResult:
    """A backlog does not make a process unready: it would only lose a worker. The figures are for people."""
    if backlog is None:
        return CheckResult("backlog", ok=True, detail="not looked at yet")
    counts = ", ".join(f"{count} {state}" for state, count in backlog.deliveries.items() if count) or "nothing waits"
    return CheckResult("backlog", ok=True, detail=f"{counts}; oldest ready {backlog.oldest_s:.0f} s")
