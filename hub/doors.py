"""What a process answers over HTTP: all of the hub, or only how it is. Begin in ``hub/ingress/server.py``."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from hub.errors import ConfigError
from hub.ingress.health import figures
from hub.ingress.processes import Processes
from hub.ingress.server import IngressDeps, Serving, build_app, build_probes, serve

if TYPE_CHECKING:
    from hub.app import Hub

PROBES_S_MAX = 0.1
"""How long a stop waits for answers about how the process is."""

log = structlog.get_logger(__name__)


class Doors:
    """The servers of a process. ``processes`` are those that share its address."""

    def __init__(self, hub: Hub, processes: Processes | None) -> None:
        self._hub = hub
        self._processes = processes
        self.serving: Serving | None = None
        self.probes: Serving | None = None

    async def open(self, listening: socket.socket | None) -> None:
        """Let everybody in. Raises ConfigError when the port cannot be had."""
        hub = self._hub
        members = hub.wiring.capabilities.members
        deps = replace(
            self._deps(),
            routes=[route for one in members if one.http is not None for route in one.http(hub.api)],
            replies={source: partial(add, hub.api) for one in members for source, add in one.replies.items()},
            console=self._console_maker(),
            published=lambda: hub.wiring.published,
        )
        deps.registry.register(hub.measuring)
        app = build_app(deps)
        await self._tell_the_others(app)
        self.serving = await serve(app, hub.settings.host, hub.settings.port, listening=listening)

    async def open_probes(self, port: int) -> None:
        """Let a process that takes nothing in be watched all the same."""
        app = build_probes(self._deps())
        await self._tell_the_others(app)
        try:
            self.probes = await serve(app, self._hub.settings.host, port)
            log.info("probes_answered", url=self.probes.url)
        except ConfigError:
            # Of several processes one has the port, and tells of all.
            if self._processes is None:
                raise

    def _deps(self) -> IngressDeps:
        hub = self._hub
        return IngressDeps(
            settings=hub.settings,
            clock=hub.clock,
            acceptor=hub.acceptor,
            doorman=hub.doorman,
            table=hub.table,
            ready=hub.ready,
            processes=self._processes,
        )

    async def _tell_the_others(self, app: web.Application) -> None:
        if self._processes is not None:
            await self._processes.start(partial(figures, app))

    def _console_maker(self) -> Callable[[], Awaitable[web.Application]] | None:
        hub = self._hub
        if hub.settings.console == "off":
            return None
        from hub.console.people import People  # noqa: PLC0415 - not every process serves pages

        # Users of the settings that cannot be read are told at the start.
        People(hub.store, hub.settings, hub.doorman.keys, hub.plan.oidc)
        return self._make_console

    async def _make_console(self) -> web.Application:
        # The pages and what renders them are megabytes and take their time to load; webhooks do not wait for it.
        await asyncio.to_thread(importlib.import_module, "hub.console.app")
        from hub.console.app import Console  # noqa: PLC0415 - just loaded

        return Console(self._hub).application()

    async def close(self, deadline_s: float) -> None:
        """Let nobody in any more; whoever is inside has until the deadline."""
        if self.serving is not None:
            await self.serving.stop(deadline_s)
        if self.probes is not None:
            await self.probes.stop(PROBES_S_MAX)
        if self._processes is not None:
            await self._processes.stop()
