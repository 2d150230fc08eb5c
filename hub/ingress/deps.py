"""What the HTTP endpoints need from the rest of the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CollectorRegistry

from hub.apidoc.published import Published
from hub.capability import CheckResult
from hub.clock import Clock
from hub.inbox.received import Accepted, Acceptor
from hub.ingress.bodies import Room
from hub.ingress.connections import Connections, connections_that_fit
from hub.ingress.endpoints import EndpointTable
from hub.ingress.metrics import IngressMetrics
from hub.ingress.processes import Processes
from hub.ingress.tokens import Doorman
from hub.settings import Settings

ReadyChecks = Callable[[], Awaitable[Sequence[CheckResult]]]


@dataclass(frozen=True, kw_only=True)
class IngressDeps:
    """Everything that ``build_app`` is given.

    ``ready`` says how the parts of the hub are; ``routes`` are the capabilities' own. ``table`` may be filled later and
    is swapped on reload; ``replies`` are what capabilities add to the answers of a source; ``published`` describes the
    messages of the wiring as it is then; ``console`` makes what is hung in under ``/console``.
    """

    settings: Settings
    clock: Clock
    acceptor: Acceptor
    doorman: Doorman
    table: EndpointTable
    ready: ReadyChecks
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    routes: Sequence[web.AbstractRouteDef] = ()
    processes: Processes | None = None
    published: Callable[[], Published] | None = None
    console: Callable[[], Awaitable[web.Application]] | None = None
    replies: Mapping[str, Callable[[Accepted], Awaitable[Mapping[str, object]]]] = field(default_factory=dict)


class Door:
    """The state of one HTTP application: its dependencies, the room it has, what it counts."""

    def __init__(self, deps: IngressDeps) -> None:
        settings = deps.settings
        self.deps = deps
        connections_max = connections_that_fit(settings.connections_max)
        # Where every connection had a body to send, none would be left for whoever is to hear 503, nor for the probes.
        requests_max = min(settings.requests_max, max(1, connections_max // 2))
        self.room = Room(requests_max=requests_max, bytes_max=settings.bodies_bytes_max)
        self.in_hand = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self.metrics = IngressMetrics(deps.registry, self.room, lambda: self.in_hand, lambda: len(self.connections))
        self.connections = Connections(
            connections_max=connections_max,
            stall_s_max=settings.idle_s_max,
            cut=lambda reason: self.metrics.cut.labels(reason).inc(),
        )

    @contextmanager
    def visit(self) -> Iterator[None]:
        """Counts a request for as long as it is being answered, so that a stop can wait for it."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """A request is being answered from now on."""
        self.in_hand += 1
        self.idle.clear()

    def leave(self) -> None:
        """It has been."""
        self.in_hand -= 1
        if not self.in_hand:
            self.idle.set()


DOOR = web.AppKey("door", Door)
