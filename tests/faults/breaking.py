"""Breaking one line of a hub to a server as networks do, and healing it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random
from typing import Protocol

from tests.support.proxy import Proxy

CALM_S = 0.25
"""The longest pause between two cuts; when exactly the next one comes is up to chance."""


class Reached(Protocol):
    """A hub that reaches both servers through a proxy each."""

    @property
    def database(self) -> Proxy: ...
    @property
    def broker(self) -> Proxy: ...


async def broken_line(replicas: Sequence[Reached], chance: Random, stall_s_max: float) -> None:
    """Break one line of one hub, in one way, and heal it."""
    replica = chance.choice(replicas)
    proxy = chance.choice([replica.database, replica.broker])
    await asyncio.sleep(chance.uniform(0, CALM_S))
    match chance.choice(["cut", "half closed", "half closed back", "silent", "silent, then cut", "away"]):
        case "cut":
            proxy.cut()
        case "half closed":
            proxy.half_close()
        case "half closed back":
            proxy.half_close(way_back=True)
        case "silent":
            proxy.stall()
            await asyncio.sleep(chance.uniform(0, stall_s_max))
            proxy.resume()
        case "silent, then cut":
            proxy.stall()
            await asyncio.sleep(chance.uniform(0, stall_s_max))
            proxy.cut()
            proxy.resume()
        case _:
            proxy.refuse()
            await asyncio.sleep(chance.uniform(0, stall_s_max))
            proxy.accept()
