"""The hub under measurement: ``hub run`` as its users start it, with a home, a database and queues of its own."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.processes import Child, child
from benchmarks.rawamqp import connect
from benchmarks.wiring import OTHER_ROUTES, SECRET, Names, write_routing
from hub.app import Hub
from hub.routing import Known, LoadedRouting, load_text
from hub.transports.topology import topology_of

PREPARE_S_MAX = 240.0
READY_S_MAX = 20.0
PORTS = range(20_000, 30_000)
PORTS_TRIED = 100


@dataclass(frozen=True, slots=True)
class Site:
    """Where one hub lives, and where it listens."""

    home: Path
    names: Names
    broker_url: str
    database_url: str
    port: int
    environ: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def site(
    home: Path,
    *,
    database_url: str,
    broker_url: str,
    other_routes: int = OTHER_ROUTES,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Site]:
    """A prepared place: tables made, queues declared; the broker's objects are removed at the end."""
    names, port = Names(), free_port()
    routing = write_routing(home, names, other_routes=other_routes)
    environ = {
        "HUB_HOME": str(home),
        "HUB_PORT": str(port),
        "HUB_ROUTING": str(routing),
        "HUB_JWT_SECRET": "bench-jwt-secret-of-32-characters!",
        "HUB_API_KEY": "bench-api-key",
        "BENCH_SECRET": SECRET,
        **({"HUB_DATABASE_URL": database_url} if database_url else {}),
        **({"HUB_BROKER_URL": broker_url} if broker_url else {}),
        **(settings or {}),
    }
    made = Site(home, names, broker_url, database_url, port, environ)
    try:
        await _prepare(environ)
        yield made
    finally:
        if broker_url:
            await remove_topology(broker_url, routing)


async def _prepare(environ: Mapping[str, str]) -> None:
    """Make the tables, the queues and the bindings: the load is put into its queue before the measured hub starts."""
    async with asyncio.timeout(PREPARE_S_MAX):
        hub = await Hub.open(environ)
        await hub.stop()


@asynccontextmanager
async def hub_process(where: Site, *, processes: int = 1, roles: Sequence[str] = ()) -> AsyncIterator[Child]:
    """A running hub that is ready for work."""

    async def is_ready(_: Child) -> bool:
        with suppress(aiohttp.ClientError, TimeoutError, KeyError):
            timeout = aiohttp.ClientTimeout(total=READY_S_MAX)
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.get(f"{where.url}/readyz") as response,
            ):
                body = await response.json()
                return response.status == 200 and bool(body["checks"]["lanes"]["ok"])
        return False

    arguments = ["-m", "hub", "run", "--log-json"]
    arguments += ["--workers", str(processes)] if processes > 1 else []
    for role in roles:
        arguments += ["--role", role]
    async with child(arguments, home=where.home, environ=where.environ, is_ready=is_ready) as running:
        yield running


async def remove_topology(broker_url: str, routing: Path) -> None:
    """Delete what this routing.yaml has had declared."""
    loaded = loaded_routing(await asyncio.to_thread(routing.read_text), routing)
    topology = topology_of(loaded.config)
    async with connect(broker_url) as channel:
        await channel.delete(queues=[queue.name for queue in topology.queues], exchanges=topology.exchanges)


def loaded_routing(text: str, path: Path) -> LoadedRouting:
    """What the hub reads in this routing.yaml of ours."""
    known = Known(
        handlers=frozenset({"bench.credit"}), schemes=frozenset({"hmac"}), schemas=frozenset({"bench.Deposit"})
    )
    return load_text(text, path=path, environ={"BENCH_SECRET": SECRET}, known=known)


def free_port() -> int:
    """A port that nobody uses just now, from below those that the system gives to outgoing connections.

    One of theirs would often be taken again by the time the hub listens: a hub has many connections itself.
    """
    for port in random.sample(PORTS, PORTS_TRIED):
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"{PORTS_TRIED} ports from {PORTS.start} on are taken")
