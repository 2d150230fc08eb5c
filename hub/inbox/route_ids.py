"""The number of every route name that ever made a delivery. A number never changes its meaning; a rename keeps it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import ConfigError
from hub.routing import CompiledRoute
from hub.store import tables as t

ROUTE_ID_MAX = 65_535


async def register_routes(conn: AsyncConnection, routes: Sequence[CompiledRoute]) -> dict[str, int]:
    """The number of each route, by its name; new names get new numbers, renamed ones keep theirs.

    Former names and routes that are gone are in the answer too: what was routed before a reload is stored after it.
    Raises ConfigError when every number is used up.
    """
    if conn.dialect.name == "postgresql":
        # Two replicas that start together must not give one number twice.
        await conn.execute(text("LOCK TABLE routes IN SHARE ROW EXCLUSIVE MODE"))
    known = {row.name: row.id for row in await conn.execute(select(t.routes))}
    next_id = (await conn.scalar(select(func.coalesce(func.max(t.routes.c.id), 0)))) or 0
    numbers = dict(known)
    for route in routes:
        former = next((name for name in route.was if name in known), None)
        if route.name in known:
            numbers[route.name] = known[route.name]
        elif former is not None:
            numbers[route.name] = known.pop(former)
            await conn.execute(update(t.routes).where(t.routes.c.name == former).values(name=route.name))
        else:
            next_id += 1
            if next_id > ROUTE_ID_MAX:
                raise ConfigError(f"more than {ROUTE_ID_MAX} route names have been used in this database")
            await conn.execute(insert(t.routes), [{"id": next_id, "name": route.name}])
            numbers[route.name] = next_id
    return numbers
