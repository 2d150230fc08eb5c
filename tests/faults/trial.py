"""One trial: play a scenario, cut the hub off at one point, start it again, let it finish, and ask the judge."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from tests.faults.books import Books, reading
from tests.faults.judge import Told, is_settled, judge
from tests.faults.life import Life, LifeHere, Lives
from tests.faults.line import Line
from tests.faults.scenarios import Scenario, World
from tests.faults.seams import Point
from tests.faults.stage import Stage

TRIAL_S_MAX = 600.0
LOOK_S = 0.01
TRAIL_S = 0.3
"""How long after everything is settled a point may still be reached: by the last marks, and one more look."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial. ``was_reached`` is False when this run took another way around the point."""

    point: Point | None
    was_reached: bool
    violations: tuple[str, ...]
    events: int = 0
    """How many messages were accepted."""

    def __str__(self) -> str:
        return f"cut off {self.point}:\n    " + "\n    ".join(self.violations)


async def clean_run(stage: Stage, lives: Lives) -> tuple[Verdict, list[Point], int]:
    """Nothing is cut off. Also answers with the points that were reached, and how many of them while opening."""
    life = lives.new(None, is_quiet=True)
    assert isinstance(life, LifeHere)
    verdict = await _try(stage, None, [life])
    return verdict, list(life.seams.reached), life.opened


async def trial(stage: Stage, lives: Lives, point: Point) -> Verdict:
    """Cut the hub off at ``point``, and see what the next one makes of it."""
    return await _try(stage, point, [lives.new(point, is_quiet=True)], lives)


async def _try(stage: Stage, point: Point | None, firsts: list[Life], lives: Lives | None = None) -> Verdict:
    environ = await stage.copy()
    try:
        async with (
            asyncio.timeout(TRIAL_S_MAX),
            reading(environ["HUB_DATABASE_URL"]) as books,
            stage.scenario.opened(environ) as world,
        ):
            play = Play(stage.scenario, books, world)
            told = {**environ, **world.environ}
            try:
                was_reached = await live(play, told, firsts[0])
                if was_reached and lives is not None:
                    await live(play, told, lives.new(None, is_quiet=False))
                return await play.verdict(point, was_reached=was_reached)
            finally:
                play.cancel()
    finally:
        await stage.remove(environ)


async def live(play: Play, environ: Mapping[str, str], life: Life) -> bool:
    """One life, until it is struck (True) or all is done."""
    try:
        await life.begin(environ)
        play.hub_begins(life.url)
        return await _struck_before_the_end(play, life)
    finally:
        play.hub_died()
        await life.die()


async def _struck_before_the_end(play: Play, life: Life) -> bool:
    while not life.has_struck:
        if await play.is_over() and not await _strikes_late(life) and await play.is_over():
            return False
        await asyncio.sleep(LOOK_S)
    return True


async def _strikes_late(life: Life) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + TRAIL_S
    while not life.has_struck and loop.time() < end:  # noqa: ASYNC110 - it is another process, or not async
        await asyncio.sleep(LOOK_S)
    return life.has_struck


class Play:
    """A scenario under way: its sender goes on by itself, whether the hub lives or not."""

    def __init__(self, scenario: Scenario, books: Books, world: World | None = None) -> None:
        self.line = Line()
        self._scenario = scenario
        self._books = books
        self._world = world = world or World({}, scenario.play, tuple)
        self._sender = asyncio.create_task(world.play(self.line, self._quiet), name="sender")

    def hub_begins(self, url: str | None) -> None:
        """A hub listens. What lies unread in its queue may be read once more by each hub."""
        self.line.sent["loymax"] += len(self._scenario.queued)
        self.line.url = url

    def hub_died(self) -> None:
        self.line.url = None

    async def is_over(self) -> bool:
        """Whether everything was sent, and nothing is left to do. Raises what the sender raised."""
        if not self._sender.done():
            return False
        self._sender.result()
        return await is_settled(self._books, self._scenario.source_queues)

    async def verdict(self, point: Point | None, *, was_reached: bool) -> Verdict:
        queued = [("loymax", one.payload) for one in self._scenario.queued]
        told = Told([*self.line.accepted, *queued], self.line.sent, self.line.answered)
        judged = await judge(self._books, told, self._scenario.expected, without=self._world.without)
        ends = await self._world.ends(self._books) if self._world.ends is not None else ()
        violations = (*judged, *ends, *self._world.judge())
        return Verdict(point, was_reached, violations, len(set(told.accepted)))

    def cancel(self) -> None:
        self._sender.cancel()

    async def _quiet(self) -> None:
        while not await is_settled(self._books, self._scenario.source_queues):  # noqa: ASYNC110 - it is in a database
            await asyncio.sleep(LOOK_S)
