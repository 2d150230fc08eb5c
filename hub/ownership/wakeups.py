"""Telling other processes of work, over PostgreSQL's NOTIFY. A look at the tables stands behind it: it may be lost.

Named lanes are gathered and told at most 250 times a second, in a transaction of their own that writes nothing,
so that no commit that stores events queues up for NOTIFY's lock. A process tells only of lanes that others own.
Source: PostgreSQL, "NOTIFY"; docs/operations.md, "Many processes".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from hub.errors import HubError
from hub.ownership.announcing import CHANNEL, told
from hub.ownership.holding import KINDS, Kind
from hub.signal import is_set_within
from hub.store.engines import CONNECT_TIMEOUT_S

GATHER_S = 0.004
"""Between two notifications: what is named meanwhile goes together."""
SEND_S_MAX = 5.0
PING_S = 30.0
RETRY_S_MAX = 30.0
CLOSE_S_MAX = 1.0

log = structlog.get_logger(__name__)


class PooledError(HubError):
    """The connection goes through a pooler that gives it to somebody else after each transaction."""


class Wakeups:
    """The wire between the processes of one PostgreSQL database; over anything else it does nothing.

    ``hear`` is called with the lanes of which others say that they have work, ``look_soon`` when something has changed
    among the workers.
    """

    def __init__(self, url: str, *, hear: Callable[[Kind, list[int]], None], look_soon: Callable[[], None]) -> None:
        self._url = url
        self._hear = hear
        self._look_soon = look_soon
        self._named: dict[str, set[int]] = {}
        self._has_news = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_listening = False

    @property
    def is_started(self) -> bool:
        """Whether this process tells the others by itself; a command does not."""
        return self._task is not None

    def start(self) -> None:
        """Connect in the background, again and again if need be."""
        if self._url.startswith("postgresql"):
            self._task = asyncio.create_task(self._run(), name="wakeups")

    async def close(self) -> None:
        """Say what is still to be said, if that is possible at once, and hang up."""
        if self._task is None:
            return
        self._closing.set()
        self._has_news.set()
        await asyncio.wait({self._task}, timeout=CLOSE_S_MAX)
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=CLOSE_S_MAX)

    def tell(self, kind: Kind, lanes: Iterable[int]) -> None:
        """Let the owners of these lanes know that there is work."""
        if self._task is not None:
            self._named.setdefault(kind, set()).update(lanes)
            self._has_news.set()

    def tell_change(self) -> None:
        """Let the other workers look: one has come or gone, or has lanes to give away."""
        if self._task is not None:
            self._named.setdefault("workers", set())
            self._has_news.set()

    async def _run(self) -> None:
        retry_s = 0.0
        while not self._closing.is_set():
            try:
                async with self._connected() as connection:
                    log.info("wakeups_on")
                    retry_s = 0.0
                    await self._talk(connection)
            except PooledError:
                log.warning("wakeups_off", reason="a pooler stands in between: set HUB_DATABASE_DIRECT_URL")
                return
            except (OSError, DBAPIError, PostgresError, InterfaceError) as error:
                retry_s = min(RETRY_S_MAX, max(1.0, retry_s * 2))
                log.warning("wakeups_lost", error=type(error).__name__, retry_s=retry_s)
                await is_set_within(self._closing, retry_s)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """A connection of our own that listens. Raises PooledError where listening would be in vain."""
        # Whatever is said has a bound, the first words and the leave included: a line may fall silent at any moment.
        arguments = {
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": SEND_S_MAX,
            "server_settings": {"application_name": "hub wakeups"},
        }
        engine = create_async_engine(self._url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)
        try:
            async with engine.connect() as conn:
                driver: Any = (await conn.get_raw_connection()).driver_connection
                # A pooler makes up the process number that it tells at the connect.
                if driver.get_server_pid() != await driver.fetchval("SELECT pg_backend_pid()"):
                    raise PooledError
                await driver.add_listener(CHANNEL, self._heard)
                self.is_listening = True
                try:
                    yield driver
                finally:
                    self.is_listening = False
                    if not driver.is_closed():
                        await driver.remove_listener(CHANNEL, self._heard)
        finally:
            await engine.dispose()

    async def _talk(self, driver: Any) -> None:
        driver.add_termination_listener(lambda _: self._has_news.set())
        # What was said while nobody listened is found by looking.
        self._look_soon()
        while not driver.is_closed():
            if await is_set_within(self._has_news, PING_S):
                self._has_news.clear()
                if self._named:
                    news, self._named = self._named, {}
                    await driver.execute("SELECT pg_notify($1, $2)", CHANNEL, told(dict(news)))
                    await asyncio.sleep(GATHER_S)
                if self._closing.is_set() and not self._named:
                    return
            else:
                await driver.fetchval("SELECT 1")
        raise ConnectionResetError("the database has hung up")

    def _heard(self, connection: Any, sender: int, _channel: str, payload: object) -> None:
        if sender == connection.get_server_pid():
            return
        try:
            news = json.loads(str(payload))
            for kind in KINDS:
                if lanes := news.get(kind):
                    self._hear(kind, [int(lane) for lane in lanes])
            if "workers" in news:
                self._look_soon()
        except (ValueError, TypeError, AttributeError):
            # Anybody who may connect may notify; the looks stand behind it.
            log.warning("wakeup_not_understood")
