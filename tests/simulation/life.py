"""Lives of the hub in a run: begun on what the former one has left on the disk, and cut off at any point."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final
from unittest.mock import patch

from hub.app import Hub
from hub.clock import Clock
from hub.deliver.worker import Worker
from hub.environment import Environment
from hub.errors import StoreUnavailableError
from hub.outbox.relay import Relay
from hub.ownership.member import Member
from hub.schedule.scheduler import Scheduler
from hub.store.store import Store
from hub.wiring import Wiring, load_wiring
from tests.simulation.clock import VirtualClock
from tests.simulation.gate import Crash, Gate, gates
from tests.simulation.loop import IN_HUB, VirtualLoop

LOOK_S: Final = 5.0
"""How often the hub's loops look by themselves: seldom, as signals do the work and each look costs time."""
SLOW_LOOK_S: Final = 15.0
QUEUES_LOOK_S: Final = 15_000.0
"""A queue says when something comes; only what was handed out in vain waits for a look."""
ROUNDS_MAX: Final = 200


class Life:
    """One process of the hub."""

    def __init__(self, loop: VirtualLoop, clock: VirtualClock, number: int) -> None:
        self.gate = Gate()
        self.hub: Hub | None = None
        self._loop = loop
        self._clock = clock
        self._number = number
        self._patches = ExitStack()

    @property
    def port(self) -> int | None:
        """Where it listens; None when it does not."""
        if self.gate.is_dead or self.hub is None or self.hub.serving is None:
            return None
        return int(self.hub.serving.port)

    async def begin(self, environ: Mapping[str, str]) -> None:
        """Open and start; it may be struck on the way."""
        gates.now = self.gate
        instance = str(self._number)
        self._patches.enter_context(patch("hub.ownership.rows.own_instance", lambda: instance))
        self._patches.enter_context(patch("hub.ownership.rows.is_gone", lambda _host, other: other != instance))
        token = IN_HUB.set(self._number)
        try:
            self.hub = await Hub.open(environ, clock=self._clock)
            await self.hub.start()
        except Crash:
            self.gate.die()
        except StoreUnavailableError:
            # A full disk, for one: its supervisor begins another one.
            self.gate.die()
        finally:
            IN_HUB.reset(token)

    async def end(self) -> None:
        """Cut it off, wherever it is."""
        self.gate.die()
        if self.hub is not None and self.hub.serving is not None:
            with suppress(RuntimeError):
                await self.hub.serving._site.stop()
            server = self.hub.serving._runner.server
            for connection in list(server.connections) if server is not None else []:
                if connection.transport is not None:
                    connection.transport.abort()
        for _ in range(ROUNDS_MAX):
            mine = list(self._loop.tasks_of_hub.values())
            if not mine:
                break
            for task in mine:
                task.cancel()
            await asyncio.wait(mine, timeout=1.0)
        assert not self._loop.tasks_of_hub, f"tasks outlive their process: {self._loop.tasks_of_hub}"
        self.gate.close()
        self._patches.close()


@contextmanager
def looking_seldom() -> Iterator[None]:
    """What a hub of a run lives in."""
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(patch("hub.plan.load_wiring", _wiring_once))
        enter(patch("hub.app.Store.open", _store))
        # Figures for people are no part of this.
        enter(patch("hub.app.Measuring.run", _nothing))
        enter(patch("hub.app.BacklogWatch.run", _nothing))
        enter(patch("hub.app.Sealer.run", _never))
        # There is nobody to talk to.
        enter(patch("hub.ownership.wakeups.Wakeups.start"))
        enter(patch("hub.owner.Worker", partial(Worker, sweep_s=LOOK_S)))
        enter(patch("hub.owner.Relay", partial(Relay, sweep_s=LOOK_S)))
        enter(patch("hub.owner.Member", partial(Member, look_s=SLOW_LOOK_S)))
        enter(patch("hub.app.Scheduler", partial(Scheduler, look_s=LOOK_S)))
        enter(patch("hub.transports.local.POLL_S", QUEUES_LOOK_S))
        yield


class _NowClock:
    """The clock of the run under way: the rules are read once for all runs."""

    now_running: ClassVar[Clock]

    def __getattr__(self, name: str) -> Any:
        return getattr(_NowClock.now_running, name)


SCHEDULES: Final = frozenset(
    {"poll-sepay-statement", "expire-sepay-intents", "sweep-paypay", "sweep-pending-paypal-payments"}
)
"""Those that bring money about: each look at one costs time, and licences and files are no part of a run."""
_RULES: dict[Path, Wiring] = {}
_open_store = Store.open


def _wiring_once(routing: Path, environment: Environment, clock: Clock) -> Wiring:
    _NowClock.now_running = clock
    if routing not in _RULES:
        stands_for: Any = _NowClock()
        wiring = _RULES[routing] = load_wiring(routing, environment, stands_for)
        schedules = wiring.config.schedules
        assert isinstance(schedules, dict)
        for name in schedules.keys() - SCHEDULES:
            del schedules[name]
    return _RULES[routing]


_COMPILED: dict[tuple[str, bool], tuple[Any, Any]] = {}


def _share_statements(store: Store) -> None:
    """Let all lives of a process use what the first one has compiled."""
    for async_engine in (store.writer, store.reader):
        engine: Any = async_engine.sync_engine
        key = (store.dialect, store.dialect == "sqlite" and async_engine is store.reader)
        engine.dialect, engine._compiled_cache = _COMPILED.setdefault(key, (engine.dialect, engine._compiled_cache))
        engine.pool._dialect = engine.dialect
        # The one that was used last has its statements ready.
        engine.pool._pool.use_lifo = True


def _store(url: str, **options: Any) -> Store:
    store = _open_store(url, **options)
    _share_statements(store)
    if store.dialect == "postgresql":
        # The one that reads is the same engine with other options.
        for engine in filter(None, (store.writer, store._heartbeat)):
            gates.now.watch(engine.sync_engine)
    return store


async def _never(_self: object) -> None:
    await asyncio.Event().wait()


async def _nothing(_self: object, stopping: asyncio.Event) -> None:
    await stopping.wait()
