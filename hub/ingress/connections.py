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
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.streams import StreamReader

from hub.ingress.endpoints import Endpoint
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
        self.enter(handler)
        try:
            yield
        finally:
            self.leave(handler)

    def enter(self, handler: web.RequestHandler) -> None:
        """A request of this connection is in hand from now on."""
        self._idle.pop(handler, None)

    def leave(self, handler: web.RequestHandler) -> None:
        """It is in hand no more."""
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


class AtOnce(Protocol):
    """Answers some requests without a task of their own; see ``hub/ingress/at_once.py``."""

    def takes(self, message: object, payload: StreamReader) -> Endpoint | None:
        """Where this request goes, when it is one of them."""

    def begin(self, connection: Connection, endpoint: Endpoint, message: Any, payload: StreamReader) -> None:
        """Begin to answer it; ``connection.answer`` is called once, now or later."""


class BoundedRunner(web.AppRunner):
    """Runs an application like aiohttp's own, with its connections under watch."""

    def __init__(
        self, app: web.Application, connections: Connections, at_once: AtOnce | None = None, **options: Any
    ) -> None:
        super().__init__(app, **options)
        self._connections = connections
        self._at_once = at_once

    # aiohttp has no public way to give a runner a server of one's own, or a server its handlers: hence its private
    # names, ``_make_server`` and ``_kwargs`` here, ``_loop`` and ``_kwargs`` below.
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made, self._connections, made._kwargs, self._at_once)


class _Server(web.Server):
    def __init__(
        self, made: web.Server, connections: Connections, options: Mapping[str, Any], at_once: AtOnce | None
    ) -> None:
        super().__init__(self._visit, request_factory=made.request_factory, **options)
        self._answer = made.request_handler
        self._watched = connections
        self._at_once = at_once

    def __call__(self) -> web.RequestHandler:
        return Connection(self, self._watched, self._at_once, loop=self._loop, **self._kwargs)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._watched.add(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._watched.remove(handler)

    async def _visit(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._watched.visit(request.protocol):
            return await self._answer(request)


class Connection(web.RequestHandler):
    """One connection. What is no HTTP is answered like everything else; aiohttp would quote it and tell its version.

    aiohttp's loop (``start``) waits for a future, ``_waiter``, until ``data_received`` has put a request into
    ``_messages``. While a request is answered at once, that future is held back: the loop knows nothing of it, and of
    what comes after it in good time.
    """

    def __init__(self, server: _Server, watched: Connections, at_once: AtOnce | None, **options: Any) -> None:
        super().__init__(server, **options)
        self._watched = watched
        self._at_once = at_once
        self._held: asyncio.Future[None] | None = None
        self._peer: str | None = None

    def data_received(self, data: bytes) -> None:
        """What has come is a request to be answered at once, or something for aiohttp's own loop."""
        waiter = self._waiter
        if self._at_once is None or waiter is None or waiter.done() or self._messages:
            super().data_received(data)
            return
        self._waiter, self._held = None, waiter
        super().data_received(data)
        # Only the first of several, and only where nothing waits to be read or to be taken.
        is_alone = len(self._messages) == 1 and not (self._paused or self._buffer_paused or self._upgraded)
        parser = self._parser
        endpoint = self._at_once.takes(*self._messages[0]) if is_alone and parser is not None else None
        if endpoint is None or parser is None:
            self._go_on()
            return
        message, payload = self._messages.popleft()
        parser.message_consumed()
        self._watched.enter(self)
        self._at_once.begin(self, endpoint, message, payload)

    def peer(self) -> str:
        """The address at the other end, as ``request.remote`` has it."""
        if self._peer is None:
            name = self.peername
            self._peer = str(name[0]) if isinstance(name, list | tuple) else str(name or "")
        return self._peer

    def answer(self, response: bytes, *, is_last: bool) -> None:
        """Send the answer of the request that is answered at once; with ``is_last`` the connection ends."""
        self._watched.leave(self)
        if self.transport is None:
            return
        self.transport.write(response)
        if is_last or self._close:
            self.close()
            self.transport.close()
            return
        self._keepalive = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        self._go_on()

    def _go_on(self) -> None:
        """Give aiohttp's loop back what it waits for, which has come where there are messages."""
        waiter, self._held = self._held, None
        if waiter is not None:
            self._waiter = waiter
            if self._messages and not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """End the loop, as aiohttp does, whatever is answered at once."""
        self._release()
        super().close()

    def force_close(self) -> None:
        """The same, and the connection."""
        self._release()
        super().force_close()

    def _release(self) -> None:
        if self._held is not None:
            self._waiter, self._held = self._held, None

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
