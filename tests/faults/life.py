"""Lives of a hub in this process, and their sudden end: as if the process had been cut off, but cheap."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

from hub.app import Hub
from hub.clock import Clock
from hub.deliver.worker import Worker
from hub.environment import Environment
from hub.inbox.drafting import Drafter
from hub.outbox.relay import Relay
from hub.ownership.member import Member
from hub.schedule.scheduler import Scheduler
from hub.wiring import Wiring, load_wiring
from tests.faults.flows.flying import clock_for, flying
from tests.faults.seams import Crash, Point, Seams, watching

LOOK_S = 5.0
"""Slow enough that these looks do not fall into a run: they would move from run to run. Signals must do the work."""
SWEEP_S = 0.1
"""What waits behind a barrier is found by the worker's sweep alone, and a trial has no half second to wait for it."""
UNDER_WAY_S = 3.0
"""How long a step of an invoice may take, and be under way where it is not found."""
AGAIN_S = 0.1
"""A task that waits for one that was cut off is told again."""


class Life(Protocol):
    """A hub that runs beside those who send to it, until it is struck or told to die."""

    @property
    def url(self) -> str | None:
        """Where it listens; None when it does not."""
        ...

    @property
    def has_struck(self) -> bool:
        """Whether its point was reached."""
        ...

    async def begin(self, environ: Mapping[str, str]) -> None:
        """Open and start. Returns all the same when it is struck on the way."""
        ...

    async def die(self) -> None:
        """Cut it off; nothing of it can write from then on."""
        ...


class Lives(Protocol):
    """Where lives come from."""

    def new(self, point: Point | None, *, is_quiet: bool) -> Life:
        """A life that ends at ``point``. ``is_quiet``: the loops that only look from time to time are slowed down."""
        ...


class LivesHere:
    """Lives in this process."""

    def new(self, point: Point | None, *, is_quiet: bool) -> LifeHere:
        return LifeHere(Seams(point), is_quiet=is_quiet)


class LifeHere:
    """A life in this process; ``opened`` is how many points were reached before it started."""

    def __init__(self, seams: Seams, *, is_quiet: bool) -> None:
        self.seams = seams
        self.opened = 0
        self._hub: Hub | None = None
        self._others: set[asyncio.Task[Any]] = set()
        self._patches = ExitStack()
        self._patches.enter_context(surroundings(seams, is_quiet=is_quiet))
        # Each life stands for a process, of which its successor knows at once that it has ended.
        instance = str(next(_NUMBERS))
        self._patches.enter_context(patch("hub.ownership.rows.own_instance", lambda: instance))
        # Every life but this one was before it.
        self._patches.enter_context(patch("hub.ownership.rows.is_gone", lambda _host, other: other != instance))

    @property
    def url(self) -> str | None:
        return None if self._hub is None or self._hub.serving is None else self._hub.serving.url

    @property
    def has_struck(self) -> bool:
        return self.seams.has_struck

    async def begin(self, environ: Mapping[str, str]) -> None:
        self._others = asyncio.all_tasks()
        asyncio.get_running_loop().set_exception_handler(_quiet_about_crashes)
        try:
            self._patches.enter_context(flying(environ))
            self._hub = await Hub.open(environ, clock=clock_for(environ))
            self.opened = len(self.seams.reached)
            await self._hub.start()
        except Crash:
            return

    async def die(self) -> None:
        # No connection is answered, no loop ends in order, nothing more is committed.
        self.seams.has_struck = True
        if self._hub is not None and self._hub.serving is not None:
            await _cut(self._hub.serving)
        while mine := asyncio.all_tasks() - self._others:
            for task in mine:
                task.cancel()
            await asyncio.wait(mine, timeout=AGAIN_S)
        await self.seams.drop_connections()
        self._patches.close()


async def _cut(serving: Any) -> None:
    """Stop listening and drop every connection, without an answer to anybody."""
    await serving._site.stop()
    for connection in serving._runner.server.connections:
        if connection.transport is not None:
            connection.transport.abort()


def _quiet_about_crashes(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Nobody asks for the results of tasks that were cut off."""
    if "never retrieved" not in context["message"]:
        loop.default_exception_handler(context)


@contextmanager
def surroundings(seams: Seams, *, is_quiet: bool) -> Iterator[Seams]:
    """What a hub under trial lives in: watched, the rules at hand, and no instant of a schedule in between."""
    with ExitStack() as stack:
        stack.enter_context(watching(seams))
        stack.enter_context(patch("hub.plan.load_wiring", wiring_once))
        stack.enter_context(patch("hub.schedule.scheduler.due_instants", no_instants))
        # A trial has no two minutes until a lost request cannot be under way any more; the played provider is quick.
        stack.enter_context(patch("handlers.paypal.invoicing.STEP_S_MAX", UNDER_WAY_S))
        stack.enter_context(patch("hub.calls.record.UNDER_WAY_S", 0.0))
        # There is nobody to talk to, and when this connects is up to chance.
        stack.enter_context(patch("hub.ownership.wakeups.Wakeups.start"))
        stack.enter_context(patch("hub.owner.Worker", partial(Worker, sweep_s=SWEEP_S)))
        if is_quiet:
            stack.enter_context(patch("hub.owner.Relay", partial(Relay, sweep_s=LOOK_S)))
            stack.enter_context(patch("hub.owner.Member", partial(Member, look_s=LOOK_S)))
            stack.enter_context(patch("hub.app.Scheduler", partial(Scheduler, look_s=LOOK_S)))
            stack.enter_context(patch("hub.transports.local.POLL_S", LOOK_S))
        yield seams


_NUMBERS = count(1)


def no_instants(*_arguments: object, **_options: object) -> list[datetime]:
    """No schedule comes due in a trial."""
    return []


_RULES: dict[Path, Wiring] = {}


def wiring_once(routing: Path, environment: Environment, clock: Clock) -> Wiring:
    """The rules, read once per process: every hub here has the same, and reading takes longer than a run."""
    if routing not in _RULES:
        _RULES[routing] = load_wiring(routing, environment, clock)
    rules = _RULES[routing]
    # Each trial has a clock of its own.
    return replace(rules, drafter=Drafter(rules.router, rules.drafter.sources, clock))
