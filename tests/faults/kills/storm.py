"""What befalls the two hubs: kills, stops longer than a lease, broken lines, restarts of both servers, by a seed.

Healing goes on beside whatever comes next, so that faults meet each other: both hubs may be dead at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.faults.breaking import broken_line
from tests.faults.kills.place import LEASE_S, Place, Replica
from tests.faults.kills.senders import Pace

KILL, STOP, CUT, SERVER = "kill", "stop", "cut", "server"
SERVER_DEEDS: Final = ("restart the broker", "kill the broker", "hang up on all", "restart the database", "crash it")
STOP_S: Final = (LEASE_S + 1.0, 2.5 * LEASE_S)
STALL_S_MAX: Final = 1.5 * LEASE_S
DEAD_S_SHORT, DEAD_S_LONG = 1.0, 2.0 * LEASE_S
LONG_DEAD_SHARE: Final = 0.2
LOOK_S: Final = 0.05
AHEAD: Final = 1.5
"""How many deeds the load may be ahead of the storm."""
STILL_S_MAX: Final = 900.0


def deeds_of(kills: int, chance: Random) -> list[str]:
    """Everything that will happen, in its order."""
    deeds = [KILL] * kills + [STOP] * -(-kills // 5) + [CUT] * kills + [SERVER] * -(-kills // 8)
    chance.shuffle(deeds)
    return deeds


@dataclass
class Storm:
    """The deeds of a run, each at its moment: when so many of Loymax' events have come to their queue."""

    place: Place
    pace: Pace
    chance: Random
    progress: Callable[[], float]
    """How much of the load has come through, from 0 to 1: what is broken all the time does no work to be broken in."""
    done: Counter[str] = field(default_factory=Counter)
    _healing: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, deeds: Sequence[str]) -> None:
        """All of them; in the end everything is healed."""
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(self._keep())
            for number, deed in enumerate(deeds):
                self.pace.allow((number + AHEAD) / len(deeds))
                await self._reached((number + self.chance.random()) / len(deeds))
                await self._do(deed, group)
            await self._healed()
            keeper.cancel()
        self.place.heal()
        self.pace.allow(1.0)

    async def _reached(self, moment: float) -> None:
        async with asyncio.timeout(STILL_S_MAX):
            while self.progress() < moment:  # noqa: ASYNC110 - it is at the consumers
                await asyncio.sleep(LOOK_S)

    async def _healed(self) -> None:
        while any(replica.is_busy for replica in self.place.replicas) or self._healing:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)

    async def _do(self, deed: str, group: asyncio.TaskGroup) -> None:
        match deed:
            case "kill":
                victim = await self._victim()
                self._heal(group, self._killed(victim))
            case "stop":
                victim = await self._victim()
                self._heal(group, self._stopped(victim))
            case "cut":
                self._heal(group, broken_line(self.place.replicas, self.chance, STALL_S_MAX))
            case _:
                await self._server(self.chance.choice(SERVER_DEEDS))
        self.done[deed] += 1

    async def _victim(self) -> Replica:
        """Wait for one that nobody is busy with; from now on it is."""
        while not (free := [one for one in self.place.replicas if not one.is_busy]):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        victim = self.chance.choice(free)
        victim.is_busy = True
        return victim

    def _heal(self, group: asyncio.TaskGroup, work: object) -> None:
        task: asyncio.Task[None] = group.create_task(work)  # type: ignore[arg-type]
        self._healing.add(task)
        task.add_done_callback(self._healing.discard)

    async def _killed(self, victim: Replica) -> None:
        await victim.kill()
        is_long = self.chance.random() < LONG_DEAD_SHARE
        await asyncio.sleep(self.chance.uniform(0.0, DEAD_S_LONG if is_long else DEAD_S_SHORT))
        await victim.start()
        victim.is_busy = False

    async def _stopped(self, victim: Replica) -> None:
        victim.pause()
        await asyncio.sleep(self.chance.uniform(*STOP_S))
        victim.resume()
        victim.is_busy = False

    async def _server(self, deed: str) -> None:
        node, cluster = self.place.node, self.place.cluster
        match deed:
            case "restart the broker":
                await node.restart()
            case "kill the broker":
                await node.crash()
            case "hang up on all":
                await node.close_all_connections()
            case _:
                await cluster.stop("fast" if deed == "restart the database" else "immediate")
                await asyncio.sleep(self.chance.uniform(0.0, DEAD_S_SHORT))
                await cluster.start()

    async def _keep(self) -> None:
        """Start again whoever has ended by itself, as whatever runs a hub does; it counts against the hub."""
        while True:
            for replica in self.place.replicas:
                if not replica.is_busy and replica.has_fallen():
                    replica.is_busy = True
                    await replica.start()
                    replica.is_busy = False
            await asyncio.sleep(LOOK_S)
