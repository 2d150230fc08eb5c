"""A whole hub in this process, listening on a free port, with the project's own routing.yaml or another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from sqlalchemy import func, select

from handlers.paypal.authority import Authority
from hub.app import ROLES, Hub
from hub.clock import Clock
from hub.event import LANES
from hub.store import tables as t
from tests.support.clock import SettableClock
from tests.support.patience import until
from tests.support.secrecy import API_KEY, JWT_SECRET, WEBHOOK_KEY

__all__ = ["API_KEY", "JWT_SECRET", "PROJECT", "WEBHOOK_KEY", "RunningHub", "environment", "running", "until"]

PROJECT = Path(__file__).resolve().parents[2]


def environment(home: Path, database_url: str = "", **more: str) -> dict[str, str]:
    """What a hub of a test is started with: secrets of the test's own, nothing of this machine's."""
    environ = {
        "HUB_HOME": str(home),
        "HUB_PORT": "0",
        "HUB_SANDBOX": "1",
        "HUB_ROUTING": str(PROJECT / "routing.yaml"),
        "HUB_API_KEY": API_KEY,
        "HUB_JWT_SECRET": JWT_SECRET,
        "SEPAY_WEBHOOK_API_KEY": WEBHOOK_KEY,
    }
    if database_url:
        environ["HUB_DATABASE_URL"] = database_url
    if "HUB_ROUTING" not in more:
        # Made once per process: two keys take as long as the rest of a start.
        signer = home / "sandbox/paypal/signer.pem"
        if not signer.exists():
            signer.parent.mkdir(parents=True, exist_ok=True)
            signer.write_bytes(_signer())
    return environ | more


@cache
def _signer() -> bytes:
    with TemporaryDirectory() as folder:
        Authority.of(Path(folder))
        return (Path(folder) / "signer.pem").read_bytes()


class RunningHub:
    """A hub with its HTTP address. ``settled`` waits until nothing is left to do."""

    def __init__(self, hub: Hub, http: aiohttp.ClientSession) -> None:
        self.hub = hub
        self.http = http

    @property
    def url(self) -> str:
        assert self.hub.serving is not None
        return self.hub.serving.url

    def token(self, user_id: str) -> str:
        return self.hub.doorman.tokens.issue(user_id, self.hub.clock.now())

    async def post(self, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
        """POST and read the answer: JSON where it is, else text."""
        async with self.http.post(self.url + path, data=body, headers=headers) as response:
            text = await response.text()
            return response.status, (await response.json() if "json" in response.content_type else text)

    async def settled(self, *, also: frozenset[str] = frozenset()) -> None:
        """Wait until no delivery can run and no message is to be sent; states in ``also`` may stay.

        Where the hub's clock stands, what waits for a later time, and what waits behind it, cannot run: it may stay.
        """
        busy = {"ready", "waiting", "calling", "retrying"} - also
        self.hub.to_deliver.add(range(LANES))

        async def is_settled() -> bool:
            assert not self.hub.failed.is_set(), "a loop of the hub has ended"
            return not await self._has(t.deliveries, t.blocked, busy) and not await self._has(
                t.outbox, t.outbox_blocked, {"ready", "waiting"}
            )

        await until(is_settled, "everything to be settled", pause_s=0.02, moves=self.progress)

    async def knows_its_schedules(self) -> bool:
        """Whether each schedule was looked at: its next instant fires."""
        assert not self.hub.failed.is_set(), "a loop of the hub has ended"
        async with self.hub.store.reading() as conn:
            known = set(await conn.scalars(select(t.schedules.c.name)))
        return known >= set(self.hub.wiring.schedules)

    async def progress(self) -> list[Any]:
        """Changes as long as deliveries run and messages are sent: for ``until``."""
        async with self.hub.store.reading() as conn:
            return [
                sorted(
                    tuple(row)
                    for row in await conn.execute(select(table.c.state, func.count()).group_by(table.c.state))
                )
                for table in (t.deliveries, t.outbox)
            ]

    async def _has(self, table: Any, blocked: Any, states: set[str]) -> bool:
        unfinished = select(table.c.state).where(table.c.state.in_(states))
        if isinstance(self.hub.clock, SettableClock):
            later = select(blocked.c.chain).where(blocked.c.next_at > self.hub.clock.now())
            unfinished = unfinished.where(~(table.c.state.in_(["waiting", "retrying"]) & table.c.chain.in_(later)))
        async with self.hub.store.reading() as conn:
            return (await conn.execute(unfinished.limit(1))).first() is not None

    async def queue(self, name: str) -> list[Any]:
        """The messages of an embedded queue, in order."""
        async with self.hub.store.reading() as conn:
            query = select(t.local_messages).where(t.local_messages.c.queue == name).order_by(t.local_messages.c.id)
            return list(await conn.execute(query))

    async def rows(self, table: Any) -> list[Any]:
        async with self.hub.store.reading() as conn:
            return list(await conn.execute(select(table)))


@asynccontextmanager
async def running(
    environ: Mapping[str, str], *, clock: Clock | None = None, roles: tuple[str, ...] = ROLES
) -> AsyncIterator[RunningHub]:
    """Open, start, and in the end stop a hub. One whose clock a test moves has looked at all its schedules by then."""
    hub = await Hub.open(environ, clock=clock)
    try:
        await hub.start(roles)
        async with aiohttp.ClientSession() as http:
            started = RunningHub(hub, http)
            # A schedule counts from its first look: a clock that is moved before that skips what a test waits for.
            if isinstance(clock, SettableClock) and "scheduler" in roles:
                await until(started.knows_its_schedules, "the first look at every schedule")
            yield started
    finally:
        await hub.stop(5.0)
