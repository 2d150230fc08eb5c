"""Letting a route, a destination or a provider stand still and go on again, and seeing what stands still.

Events wait meanwhile; no attempt is used up. Every process sees it within a second.
Source: docs/operations.md, "Flow control".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.flow.pauses import Kind, Pause, lift_pauses, put_pause, read_pauses, target_of
from hub.operate.acting import record
from hub.operate.undecided import IS_UNDECIDED, UNDECIDED
from hub.routing.flow import ProviderConfig
from hub.store import tables as t
from hub.store.store import Store

ProviderState = Literal["working", "paused", "circuit open", "half open"]
"""working: it is called; half open: one call tries it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderView:
    """One provider: whether it is called, why not, and what waits for it."""

    name: str
    state: ProviderState
    because: str
    until: datetime | None
    in_flight_max: int
    per_second: float | None
    waiting: int
    undecided: int
    """Calls whose outcome nobody knows yet."""


async def pause(
    store: Store, clock: Clock, kind: Kind, name: str, *, actor: str, reason: str, for_s: float | None = None
) -> Pause:
    """Let it stand still until somebody resumes it, or for a time. What was said before by a person is replaced."""
    now = clock.now()
    until = now + timedelta(seconds=for_s) if for_s is not None else None
    one = Pause(kind=kind, name=name, cause="person", paused_by=actor, reason=reason, since=now, until=until)

    async def work(conn: AsyncConnection) -> Pause:
        await put_pause(conn, one)
        await record(conn, clock, actor=actor, action=f"{kind}.pause", target=target_of(kind, name), reason=reason)
        return one

    return await store.write(work)


async def resume(store: Store, clock: Clock, kind: Kind, name: str, *, actor: str, reason: str = "") -> list[Pause]:
    """Let it go on, whatever it stands still for: a person may know better than a circuit. Returns what was lifted.

    That is nothing where no row says that it stands still. It is on record all the same: a process that could not write
    its pause down, because the database took no writes, reads the record before it does, and lifts it then.
    """

    async def work(conn: AsyncConnection) -> list[Pause]:
        lifted = await lift_pauses(conn, kind, name)
        await record(conn, clock, actor=actor, action=f"{kind}.resume", target=target_of(kind, name), reason=reason)
        return [one for one in lifted if one.cause == "circuit" or one.holds(clock.now())]

    return await store.write(work)


async def list_pauses(store: Store, clock: Clock) -> list[Pause]:
    """What stands still at this moment."""
    async with store.reading() as conn:
        return [one for one in await read_pauses(conn) if one.holds(clock.now())]


async def pauses_of(
    conn: AsyncConnection,
    now: datetime,
    *,
    routes: Collection[str] = (),
    providers: Collection[str] = (),
    destinations: Collection[str] = (),
) -> list[Pause]:
    """Why work of these routes, providers and destinations stands still."""
    named: Mapping[Kind, Collection[str]] = {"route": routes, "provider": providers, "destination": destinations}
    return [one for one in await read_pauses(conn) if one.name in named[one.kind] and one.holds(now)]


async def list_providers(
    store: Store, clock: Clock, providers: Mapping[str, Sequence[int]], configs: Mapping[str, ProviderConfig]
) -> list[ProviderView]:
    """How it is with each provider. ``providers`` names the routes, by number, whose handlers call it."""
    async with store.reading() as conn:
        pauses = [one for one in await read_pauses(conn) if one.kind == "provider"]
        waiting = await _waiting_by_route(conn)
        undecided = await _undecided(conn)
    return [
        _view(
            name,
            [one for one in pauses if one.name == name],
            configs.get(name) or ProviderConfig(),
            clock.now(),
            waiting=sum(waiting.get(route, 0) for route in routes),
            undecided=undecided.get(name, 0),
        )
        for name, routes in sorted(providers.items())
    ]


def _view(
    name: str, pauses: Sequence[Pause], config: ProviderConfig, now: datetime, *, waiting: int, undecided: int
) -> ProviderView:
    holding = [one for one in pauses if one.holds(now)]
    circuit = next((one for one in pauses if one.cause == "circuit"), None)
    state: ProviderState = "working"
    if any(one.cause != "circuit" for one in holding):
        state = "paused"
    elif circuit is not None:
        state = "circuit open" if circuit.holds(now) else "half open"
    ends = [one.until for one in holding if one.until is not None]
    return ProviderView(
        name=name,
        state=state,
        because="; ".join(f"{one.paused_by}: {one.reason}" for one in holding),
        until=max(ends) if ends and len(ends) == len(holding) else None,
        in_flight_max=config.in_flight,
        per_second=config.rate.per_second if config.rate is not None else None,
        waiting=waiting,
        undecided=undecided,
    )


async def _waiting_by_route(conn: AsyncConnection) -> dict[int, int]:
    """Deliveries that have not come to an end and are not with a person, by route. Reads open rows only."""
    counts: dict[int, int] = {}
    for states in (("ready",), t.BEHIND_STATES, t.OFF_CHAIN_STATES):
        wanted = t.in_state(t.deliveries, *states)
        if states == t.OFF_CHAIN_STATES:
            wanted &= t.in_state(t.deliveries, "deferred")
        elif states == t.BEHIND_STATES:
            wanted &= t.in_state(t.deliveries, "waiting", "calling", "retrying")
        route = t.deliveries.c.route_id
        for route_id, count in await conn.execute(select(route, func.count()).where(wanted).group_by(route)):
            counts[route_id] = counts.get(route_id, 0) + count
    return counts


async def _undecided(conn: AsyncConnection) -> dict[str, int]:
    provider = t.calls.c.provider
    query = select(provider, func.count()).select_from(UNDECIDED).where(IS_UNDECIDED).group_by(provider)
    return {row[0]: row[1] for row in await conn.execute(query)}
