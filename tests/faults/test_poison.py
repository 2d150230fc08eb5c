"""A message that kills whatever process handles it is parked in the end, and the others are delivered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.faults.books import reading
from tests.faults.nursery import KILLED, LifeApart, Nursery, Order, nursery
from tests.integration.app.shop import order, send, shop_environment
from tests.support.databases import Databases
from tests.support.patience import until

ATTEMPTS = 3
"""As the shop's rules have it."""
LIVES_MAX = ATTEMPTS + 3
"""The first one may die of it before anything is counted; and one more has to live."""
ENDS_S_MAX = 60.0


async def test_a_message_that_kills_its_process_is_parked_and_its_neighbours_are_delivered(
    databases: Databases, tmp_path: Path
) -> None:
    address = await databases.fresh("sqlite")
    environ = shop_environment(tmp_path, address, HUB_SANDBOX="0")
    async with nursery() as apart, reading(address) as books:

        async def states() -> dict[str, str]:
            rows = await books.rows("SELECT i.dedupe_id, d.state FROM inbox i JOIN deliveries d ON d.event_seq = i.seq")
            return {
                f"{id_} {number}": state
                for number, (id_, state) in enumerate(sorted((str(a), str(b)) for a, b in rows))
            }

        life = await _born(apart, environ)
        async with aiohttp.ClientSession() as http:
            assert life.url is not None
            await send(http, life.url, order("deadly", do="die"))
        deaths = 0
        while await _dies(life, states) and deaths < LIVES_MAX:
            deaths += 1
            life = await _born(apart, environ)
        assert deaths <= ATTEMPTS + 1, f"it has killed {deaths} processes"
        async with aiohttp.ClientSession() as http:
            assert life.url is not None
            assert await send(http, life.url, order("harmless")) == 200
        await until(lambda: _is_over(states, "harmless", "done"))
        await life.die()

        assert sorted((await states()).values()) == ["done", "done", "done", "parked"]
    await databases.drop(address)


async def _born(apart: Nursery, environ: dict[str, str]) -> LifeApart:
    life = apart.life(Order(scene="plain"))
    await life.begin(environ)
    return life


async def _dies(life: LifeApart, states: object) -> bool:
    """Until it has died of the message, or that is parked."""

    async def is_decided() -> bool:
        return life.ended is not None or await _is_over(states, "deadly", "parked")

    async with asyncio.timeout(ENDS_S_MAX):
        await until(is_decided, deadline_s=ENDS_S_MAX)
    return life.ended == KILLED


async def _is_over(states: object, id: str, state: str) -> bool:
    assert callable(states)
    found = [of for name, of in (await states()).items() if name.startswith(id)]
    return state in found and all(one in ("done", "parked") for one in found)
