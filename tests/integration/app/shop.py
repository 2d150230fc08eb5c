"""A shop that sends orders to a running hub, and counts in the books and queues what became of each."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.operate.equation import check
from hub.store.store import Store
from tests.support.misbehaving import ROUTING
from tests.support.running import API_KEY, environment

KEY = "test-shop-key"
WEBHOOK = "/webhooks/shop"
HEADERS = {"Authorization": f"Apikey {KEY}", "Content-Type": "application/json"}


def shop_environment(home: Path, database_url: str = "", routing: str = ROUTING, **more: str) -> dict[str, str]:
    """What a hub of the shop is started with; its routing.yaml lies in ``home``."""
    (home / "routing.yaml").write_text(routing)
    return environment(home, database_url, HUB_ROUTING=str(home / "routing.yaml"), SHOP_WEBHOOK_KEY=KEY, **more)


def order(id: str, *, key: str = "", do: str = "", type: str = "shop.order") -> dict[str, str]:
    return {"id": id, "type": type, "key": key or id, "do": do}


async def send(http: aiohttp.ClientSession, url: str, body: Mapping[str, Any] | bytes) -> int:
    """One webhook; answers with the status, 0 when the hub could not be reached."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        async with http.post(url + WEBHOOK, data=io.BytesIO(data), headers=HEADERS) as response:
            await response.read()
            return response.status
    except (aiohttp.ClientError, ConnectionError):
        return 0


async def send_all(url: str, ids: Iterable[str], *, senders: int = 8, do: str = "") -> set[str]:
    """Send an order for each id, several at a time; answers with those that the hub acknowledged."""
    acknowledged: set[str] = set()
    waiting = iter(ids)

    async def sender(http: aiohttp.ClientSession, number: int) -> None:
        for id in waiting:
            if await send(http, url, order(id, key=f"customer-{number}", do=do)) == 200:
                acknowledged.add(id)

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(sender(http, number) for number in range(senders)))
    return acknowledged


async def booked(store: Store) -> list[str]:
    """The ids of the orders in the books, one for each entry."""
    async with store.reading() as conn:
        references = await conn.scalars(text("SELECT reference FROM entries ORDER BY id"))
        return [reference.removeprefix("shop:order:") for reference in references]


async def copied(store: Store) -> list[str]:
    """The ids of the orders in the queue of copies, in its order."""
    async with store.reading() as conn:
        query = text("SELECT payload FROM local_messages WHERE queue = 'shop.copies' ORDER BY id")
        return [json.loads(payload)["id"] for payload in await conn.scalars(query)]


async def states(store: Store) -> dict[str, int]:
    """How many deliveries are in each state."""
    async with store.reading() as conn:
        return await _counted(conn, "SELECT state, COUNT(*) FROM deliveries GROUP BY state")


async def outbox_states(store: Store) -> dict[str, int]:
    """How many messages are in each state."""
    async with store.reading() as conn:
        return await _counted(conn, "SELECT state, COUNT(*) FROM outbox GROUP BY state")


async def _counted(conn: AsyncConnection, query: str) -> dict[str, int]:
    return {row[0]: row[1] for row in await conn.execute(text(query))}


async def everything_is_done(store: Store) -> bool:
    """Whether nothing is left to deliver or to send."""
    async with store.reading() as conn:
        open_rows = await conn.scalar(
            text(
                "SELECT (SELECT COUNT(*) FROM deliveries WHERE state NOT IN ('done', 'parked', 'discarded'))"
                " + (SELECT COUNT(*) FROM outbox WHERE state IN ('ready', 'waiting'))"
            )
        )
        return bool(open_rows == 0)


async def assert_nothing_lost_or_doubled(store: Store, acknowledged: set[str]) -> None:
    """Every acknowledged order is in the books once and in the queue once; what was not may be there, once."""
    entries, copies = await booked(store), await copied(store)
    assert len(entries) == len(set(entries))
    assert len(copies) == len(set(copies))
    assert acknowledged <= set(entries) == set(copies)
    assert (await check(store)).violations == ()


ADMIN = {"Authorization": f"Bearer {API_KEY}"}
