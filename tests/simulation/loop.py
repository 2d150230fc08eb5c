"""An event loop without a network, without threads and without waiting: its time jumps to the next timer.

Connections are pairs of objects in memory; what would run in a thread runs at once. So a run depends on its seed alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import selectors
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVarTuple
from unittest.mock import patch

Ts = TypeVarTuple("Ts")

OUTSIDE_S_MAX: Final = 10.0
"""How long real servers, where there are any, may take before the loop goes on without them.

Were time to go on while a busy server still works, the hub would give up its answers.
"""
TICK_S: Final = 2.0**-26
"""Time goes by whole ticks, so that no timer fires before its time: a loop fires what is due within a nanosecond, and
two tasks whose rests are shorter than that would wake each other for ever while time stands still."""
TURNS_MAX: Final = 2_000_000
"""A run has tens of thousands of turns; one that has so many will not end."""
FIRST_PORT: Final = 20_000
IN_HUB: Final[contextvars.ContextVar[int]] = contextvars.ContextVar("in_hub", default=0)
"""The number of the life to which the running code belongs; 0 = to the world."""


class _Selector(selectors.DefaultSelector):
    """Waits for nothing but real servers; where a loop would wait for a timer, its time goes on."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.turn()
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        if self.loop.outside and (found := super().select(OUTSIDE_S_MAX)):
            return found
        if timeout is None and self.loop.outside:
            return []
        if timeout is None:
            raise RuntimeError("nothing can ever happen: no timer, nothing to run")
        self.loop.now_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """``now_s`` is its time. ``outside`` counts what real servers have been asked and have not answered.

    ``answer_s`` is how long what a thread has done stays unheard of.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.outside = 0
        self.answer_s = 0.0
        self.turns = 0
        self.listening: dict[int, tuple[Callable[[], asyncio.BaseProtocol], contextvars.Context]] = {}
        self.tasks_of_hub: dict[int, asyncio.Task[Any]] = {}
        self._ports = FIRST_PORT
        self._numbers = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.set_task_factory(_task)

    def time(self) -> float:
        return self.now_s

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return super().call_at(_tick(when), callback, *args, context=context)

    def jump(self, seconds: float) -> None:
        """So much time has passed, and nothing was done meanwhile."""
        self.now_s = _tick(self.now_s + seconds)

    def turn(self) -> None:
        """One more turn of the loop. Raises RuntimeError for a run that does not end."""
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise RuntimeError(f"no end after {TURNS_MAX} turns of the loop, at {self.now_s} s")

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        done: asyncio.Future[Any] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            done.set_exception(error)
            return done
        # What it did is done; that it is heard of takes a while, in which anything may happen.
        if self.answer_s > 0:
            self.call_later(self.answer_s, _settle, done, result)
        else:
            done.set_result(result)
        return done

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        if not port:
            self._ports += 1
            port = self._ports
        if port in self.listening:
            raise OSError(98, "in use")
        self.listening[port] = (protocol_factory, contextvars.copy_context())
        return _Server(self, port)

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, sock: Any = None, **more: Any
    ) -> Any:
        if sock is not None and not isinstance(sock, _Address):
            return await super().create_connection(protocol_factory, sock=sock, **more)
        if sock is None and port not in self.listening:
            # A real server, such as PostgreSQL.
            return await super().create_connection(protocol_factory, host, port, **more)
        return self.connect(protocol_factory, port if sock is None else sock.port)

    def connect(self, protocol_factory: Any, port: int) -> tuple[Transport, Any]:
        """Both ends of a new connection to what listens on this port. Raises ConnectionRefusedError."""
        if port not in self.listening:
            raise ConnectionRefusedError(111, "nobody listens")
        serve, context = self.listening[port]
        here = Transport(self, protocol_factory(), contextvars.copy_context())
        there = Transport(self, context.run(serve), context)
        here.other, there.other = there, here
        there.run(there.protocol.connection_made, there)
        here.protocol.connection_made(here)
        return here, here.protocol

    def number(self) -> int:
        self._numbers += 1
        return self._numbers


def _tick(seconds: float) -> float:
    """The first tick that is not before."""
    return math.ceil(seconds / TICK_S) * TICK_S


def _settle(done: asyncio.Future[Any], result: Any) -> None:
    if not done.done():
        done.set_result(result)


def _task(loop: Any, coro: Any, **more: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **more)
    if IN_HUB.get():
        number = loop.number()
        loop.tasks_of_hub[number] = task
        task.add_done_callback(lambda _: loop.tasks_of_hub.pop(number, None))
    return task


@dataclass(frozen=True)
class _Address:
    """What stands for a socket."""

    port: int

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def close(self) -> None:
        return


class _Server:
    """What listens."""

    def __init__(self, loop: VirtualLoop, port: int) -> None:
        self._loop = loop
        self.sockets = (_Address(port),)

    def close(self) -> None:
        self._loop.listening.pop(self.sockets[0].port, None)

    async def wait_closed(self) -> None:
        return


class Transport(asyncio.Transport):
    """One end of a connection in memory; its protocol is called in the context in which it was made."""

    other: Transport

    def __init__(self, loop: VirtualLoop, protocol: Any, context: contextvars.Context) -> None:
        super().__init__()
        self._loop = loop
        self.protocol = protocol
        self._context = context
        self._is_closing = self._is_lost = self._is_paused = False
        self._unread: list[bytes] = []

    def run(self, call: Callable[..., object], *arguments: object) -> None:
        self._loop.call_soon(call, *arguments, context=self._context)

    def write(self, data: Any) -> None:
        if not self._is_closing:
            self.other.run(self.other._take, bytes(data))

    def _take(self, data: bytes) -> None:
        if self._is_lost:
            return
        if self._is_paused:
            self._unread.append(data)
        else:
            self.protocol.data_received(data)

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        unread, self._unread = self._unread, []
        for data in unread:
            self.run(self._take, data)

    def is_reading(self) -> bool:
        return not self._is_paused

    def close(self) -> None:
        self._end(None, None)

    def abort(self) -> None:
        self._end(None, ConnectionResetError(104, "reset"))

    def _end(self, here: Exception | None, there: Exception | None) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        self.run(self._lose, here)
        if not self.other._is_closing:
            self.other._is_closing = True
            self.other.run(self.other._lose, there)

    def _lose(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        if error is None and not self._is_paused:
            self.protocol.eof_received()
        self.protocol.connection_lost(error)

    def is_closing(self) -> bool:
        return self._is_closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 40_000) if name in ("peername", "sockname") else default

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False


class Asking(asyncio.Protocol):
    """One request and its whole answer; ``answer`` is None where none came."""

    def __init__(self, request: bytes, done: asyncio.Future[bytes]) -> None:
        self._request = request
        self._done = done
        self._read = bytearray()

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._read += data

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(bytes(self._read))


async def _start_connection(addr_infos: Any, **_: Any) -> _Address:
    return _Address(addr_infos[0][4][1])


@contextmanager
def no_waiting(loop: VirtualLoop, now_s: Callable[[], float]) -> Iterator[None]:
    """Within, every clock of this process follows the loop's, and connections of aiohttp are made in memory."""
    clocks: Mapping[str, Callable[[], float]] = {
        "time": now_s,
        "monotonic": loop.time,
        "perf_counter": loop.time,
    }
    with ExitStack() as stack:
        for name, clock in clocks.items():
            stack.enter_context(patch.object(time, name, clock))
        stack.enter_context(patch("aiohttp.connector.aiohappyeyeballs.start_connection", _start_connection))
        yield
