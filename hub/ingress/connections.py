"""The connections of a server: never more than fit, and none for ever whose other end has stopped reading.

aiohttp bounds the time for a head and, with ``read_body``, for a body. It would hold any number of connections, and any
answer that nobody takes; each of them is a file descriptor that the database and the broker may lack.
"""

from __future__ import annotations

import asyncio
import resource
import struct
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import ioctl
from typing import Any, Final

from aiohttp import web

from hub.ingress.problems import problem

DESCRIPTORS_OWN: Final = 256
"""File descriptors that are left for databases, brokers, providers and files."""
CONNECTIONS_MIN: Final = 16
LOOKS: Final = 4
"""How often an answer is looked at in the time in which something of it must have been taken."""


def connections_that_fit(wanted: int) -> int:
    """As many connections as are wanted, or as the process may have descriptors for."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(descriptors - DESCRIPTORS_OWN, CONNECTIONS_MIN))


@dataclass(slots=True)
class _Open:
    transport: asyncio.Transport
    unsent: int = 0
    since_s: float = 0.0


class Connections:
    """The open connections of a server.

    When one more comes than fit, the one is cut that has waited longest without a request in hand: whoever opens many
    and sends nothing, or half a head, loses them, and an honest sender's request is answered all the same. ``cut`` is
    told why: ``crowded``, or ``stalled`` when nothing of an answer was taken for ``stall_s_max``.
    """

    def __init__(self, *, connections_max: int, stall_s_max: float, cut: Callable[[str], None]) -> None:
        self._connections_max = connections_max
        self._stall_s_max = stall_s_max
        self._told = cut
        self._open: dict[web.RequestHandler, _Open] = {}
        self._idle: dict[web.RequestHandler, None] = {}  # those that wait longest come first
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def add(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Count a new connection, and cut another one, or this one, where it does not fit."""
        self._open[handler] = _Open(transport)
        self._idle[handler] = None
        if len(self._open) > self._connections_max:
            self._cut(next(iter(self._idle)), "crowded")
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._stall_s_max / LOOKS, self._look)

    def remove(self, handler: web.RequestHandler) -> None:
        """Forget a connection."""
        self._open.pop(handler, None)
        self._idle.pop(handler, None)
        if not self._open and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @contextmanager
    def visit(self, handler: web.RequestHandler) -> Iterator[None]:
        """A request of this connection is in hand: it is not cut for another one."""
        self._idle.pop(handler, None)
        try:
            yield
        finally:
            if handler in self._open:
                self._idle[handler] = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for handler, one in list(self._open.items()):
            unsent = unacknowledged_bytes(one.transport)
            if not unsent or unsent != one.unsent:
                one.unsent, one.since_s = unsent, now_s
            elif now_s - one.since_s >= self._stall_s_max:
                self._cut(handler, "stalled")
        self._timer = loop.call_later(self._stall_s_max / LOOKS, self._look) if self._open else None

    def _cut(self, handler: web.RequestHandler, reason: str) -> None:
        self._idle.pop(handler, None)
        one = self._open.pop(handler)
        self._told(reason)
        # Not close(): that waits until the other end has taken what is unsent.
        one.transport.abort()


def unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """How much of what was answered the other end has not taken; 0 where all of it is at least under way."""
    unsent = transport.get_write_buffer_size()
    sock = transport.get_extra_info("socket")
    if not unsent or sock is None:
        return unsent
    try:
        # The kernel holds megabytes, and over a slow line they may take as long as a silence may last.
        return unsent + int(struct.unpack("i", ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])
    except OSError:
        return unsent


class BoundedRunner(web.AppRunner):
    """Runs an application like aiohttp's own, with its connections under watch."""

    def __init__(self, app: web.Application, connections: Connections, **options: Any) -> None:
        super().__init__(app, **options)
        self._connections = connections

    # aiohttp has no public way to give a runner a server of one's own, or a server its handlers: hence its private
    # names, ``_make_server`` and ``_kwargs`` here, ``_loop`` and ``_kwargs`` below.
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, self._connections, made._kwargs)


class _Server(web.Server):
    def __init__(self, made: web.Server, connections: Connections, options: Mapping[str, Any]) -> None:
        super().__init__(self._visit, request_factory=made.request_factory, **options)
        self._answer = made.request_handler
        self._watched = connections

    def __call__(self) -> web.RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._watched.add(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._watched.remove(handler)

    async def _visit(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._watched.visit(request.protocol):
            return await self._answer(request)


class _Handler(web.RequestHandler):
    """One connection. What is no HTTP is answered like everything else; aiohttp would quote it and tell its version."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        super().handle_error(request, status, exc, message)
        detail = "expected a well-formed HTTP request" if status == 400 else ""
        response = _Unread(status, problem(status, detail))
        response.force_close()
        return response


class _Unread(web.Response):
    """An answer to what never became a request, so that the application's own last touch does not reach it."""

    def __init__(self, status: int, said: web.Response) -> None:
        super().__init__(status=status, body=said.body, headers=said.headers)

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        say_less(self)


def say_less(response: web.StreamResponse) -> None:
    """Which software and version answers is of use to attackers alone; nor is an answer to be kept or guessed at."""
    response.headers.pop("Server", None)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Cache-Control", "no-store")
