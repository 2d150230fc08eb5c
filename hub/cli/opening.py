"""What a command needs of the hub: settings, routing.yaml and the database, without any of the daemon's loops.

``looking`` is for commands that ask or that act on stored rows: they work without the providers' secrets, so that an
operator's machine or a CI job need not hold them. ``opened`` is for commands that run handlers or accept events.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hub.cli.logs import set_up_logs
from hub.clock import Clock, SystemClock
from hub.environment import Environment, as_started
from hub.inbox.route_ids import register_routes
from hub.settings import Settings, load_settings
from hub.store.readiness import prepare
from hub.store.store import Store
from hub.wiring import Wiring, load_wiring

if TYPE_CHECKING:
    from hub.app import Hub

DATABASE_WAIT_S = 5.0
"""How long a command waits for another writer of an SQLite database before it says who that is."""
POOL_SIZE = 2
PLACEHOLDER = "not-set"
"""Stands for a variable that routing.yaml names and that is not set, where its value does not matter."""

_NEEDED = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Look:
    """The parts of the hub that a command looks at or acts on."""

    settings: Settings
    wiring: Wiring
    store: Store
    clock: Clock

    async def route_ids(self) -> Mapping[str, int]:
        """The number of every route, given out now to those that have none."""
        return await self.store.write(lambda conn: register_routes(conn, self.wiring.router.routes))


@asynccontextmanager
async def looking() -> AsyncIterator[Look]:
    """Open the database for one command; variables that routing.yaml names may be missing.

    Raises ConfigError, StoreUnavailableError.
    """
    _, settings, wiring = load_rules()
    store = open_store(settings)
    try:
        await prepare(store, wiring.capabilities.members, may_upgrade=False)
        yield Look(settings, wiring, store, SystemClock())
    finally:
        await store.close()


@asynccontextmanager
async def opened(*, needs_secrets: bool = True) -> AsyncIterator[Hub]:
    """The whole hub, not started, for one command; a daemon may be at work on the same database.

    Without ``needs_secrets`` a variable that routing.yaml names may be missing. Raises ConfigError,
    StoreUnavailableError.
    """
    from hub.app import Hub  # noqa: PLC0415 - only a few commands need all of it
    from hub.plan import Plan  # noqa: PLC0415
    from hub.transports import open_transport  # noqa: PLC0415

    environment, settings, wiring = load_rules(needs_secrets=needs_secrets)
    store = open_store(settings)
    try:
        hub = Hub(Plan.of(settings, environment, wiring), store, SystemClock())
        await prepare(store, wiring.capabilities.members, may_upgrade=False)
        hub.rules = wiring.rules(await store.write(lambda conn: register_routes(conn, wiring.router.routes)))
        hub.transport = open_transport(settings.broker, store, hub.clock)
        try:
            yield hub
        finally:
            await hub.transport.close()
    finally:
        await store.close()


def load_rules(*, needs_secrets: bool = False) -> tuple[Environment, Settings, Wiring]:
    """The environment, the settings in it, and routing.yaml.

    Unless ``needs_secrets``, a variable that the file names and that is not set is replaced by a placeholder. Raises
    ConfigError.
    """
    set_up_logs(level="warning")
    environ = as_started(os.environ)
    environment, settings = Environment(environ), load_settings(environ)
    filled = environment
    if not needs_secrets:
        filled = Environment({**environ, **placeholders(settings.routing, environment)})
    return environment, settings, load_wiring(settings.routing, filled, SystemClock())


def placeholders(path: Path, environment: Environment) -> dict[str, str]:
    """A value for each variable that the file needs (``${NAME}`` without a default) and that is not set."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return {}  # whoever loads the file says so
    return {name: PLACEHOLDER for name in _NEEDED.findall(text) if environment.given(name) is None}


def open_store(settings: Settings) -> Store:
    """The database of the settings; whoever calls closes it."""
    settings.home.mkdir(parents=True, exist_ok=True)
    wait_s = min(DATABASE_WAIT_S, settings.database_busy_timeout_s)
    return Store.open(
        settings.database, pool_size=POOL_SIZE, busy_timeout_s=wait_s, is_pooled=settings.is_database_pooled
    )
