"""``hub run --workers N``: one process that starts N hubs side by side, keeps them running and stops them in order.

All of them accept connections from one listening socket, and share the lanes like any other replicas. A child that dies
is started again; when the supervisor itself is gone, its children notice and stop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from hub.cli.output import EXIT_PROBLEM, EXIT_USAGE
from hub.signal import is_set_within

RESTART_S_FIRST = 0.5
RESTART_S_MAX = 30.0
SOUND_S = 60.0
"""A child that lived so long was all right: the next restart is a quick one again."""
GRACE_S = 5.0
"""How much longer than its own deadline a child may take to stop before it is killed."""
STARTED = b"s"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Leash:
    """What ties a child to its supervisor: file descriptors of the line between them and of the listening socket.

    ``greets``: whether this child says where the hub listens. ``number`` is the child's, ``directory`` where it and its
    siblings tell each other their figures.
    """

    line: int
    listening: int | None
    greets: bool
    number: int
    directory: str

    def __str__(self) -> str:
        listening = "" if self.listening is None else self.listening
        return f"{self.line}:{listening}:{int(self.greets)}:{self.number}:{self.directory}"

    @classmethod
    def read(cls, text: str) -> Leash:
        line, listening, greets, number, directory = text.split(":", 4)
        return cls(int(line), int(listening) if listening else None, greets == "1", int(number), directory)

    def on_cut(self, stopping: asyncio.Event) -> None:
        """Stop when the supervisor is gone."""

        def look() -> None:
            asyncio.get_running_loop().remove_reader(self.line)
            stopping.set()

        asyncio.get_running_loop().add_reader(self.line, look)

    def say_started(self) -> None:
        os.write(self.line, STARTED)


class Supervisor:
    """Keeps ``count`` children running ``hub run`` with these arguments until it is told to stop."""

    def __init__(
        self, count: int, arguments: Sequence[str], *, listening: socket.socket | None, deadline_s: float
    ) -> None:
        self._count = count
        self._arguments = tuple(arguments)
        self._listening = listening
        self._deadline_s = deadline_s
        self._stopping = asyncio.Event()
        self._first_is_up = asyncio.Event()
        self._has_started = False
        self._directory = ""
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._started: set[int] = set()
        self._code = 0

    async def run(self) -> int:
        """Until ``stop``, or until the first child says that its settings are wrong; answers with the exit code."""
        loop = asyncio.get_running_loop()
        for ending in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(ending, self.stop)
        for passed in (signal.SIGHUP, signal.SIGUSR1):
            loop.add_signal_handler(passed, self.tell, passed)
        with tempfile.TemporaryDirectory(prefix="hub-", ignore_cleanup_errors=True) as self._directory:
            await self._keep_all()
        return self._code

    async def _keep_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(0))
            # The first one makes what is missing: tables, generated secrets. The others find it.
            await self._first_is_up.wait()
            for number in range(1, self._count):
                group.create_task(self._keep(number))
            await self._stopping.wait()
            log.info("workers_stopping", deadline_s=self._deadline_s)
            self._pass_on(signal.SIGTERM)
            group.create_task(self._kill_the_late())

    def stop(self) -> None:
        """Stop the children in order."""
        self._stopping.set()
        self._first_is_up.set()

    def tell(self, number: signal.Signals) -> None:
        """Pass a signal on to the children that have started: one that has not would die of it, and needs it not."""
        for one in self._started:
            if self._processes[one].returncode is None:
                self._processes[one].send_signal(number)

    def _pass_on(self, number: signal.Signals) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)

    async def _keep(self, number: int) -> None:
        pause_s, greets = RESTART_S_FIRST, number == 0
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            code = await self._live(number, greets=greets)
            greets = False
            if self._stopping.is_set():
                self._code = self._code or (EXIT_PROBLEM if code else 0)
            elif code == EXIT_USAGE and not self._has_started:
                # It has said what is wrong, and the next one would say the same. Once one has started, a file that was
                # broken meanwhile must not end those that go by the good one.
                self._code = EXIT_USAGE
                self.stop()
            else:
                if asyncio.get_running_loop().time() - started > SOUND_S:
                    pause_s = RESTART_S_FIRST
                log.error("worker_process_ended", number=number, code=code, again_in_s=pause_s)
                await is_set_within(self._stopping, pause_s)
                pause_s = min(RESTART_S_MAX, pause_s * 2)

    async def _live(self, number: int, *, greets: bool) -> int:
        """One life of one child; answers with its exit code."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        listening = self._listening.fileno() if self._listening is not None else None
        leash = Leash(theirs.fileno(), listening, greets, number, self._directory)
        with ours:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "hub", "run", *self._arguments, "--leash", str(leash)),
                    pass_fds=[fd for fd in (leash.line, leash.listening) if fd is not None],
                )
            self._processes[number] = process
            if self._stopping.is_set():
                process.terminate()
            log.info("worker_process_started", number=number, pid=process.pid)
            # Ends with an empty answer when it dies before it has started.
            if await asyncio.get_running_loop().sock_recv(ours, 1) == STARTED:
                self._has_started = True
                self._started.add(number)
                self._first_is_up.set()
            try:
                return await process.wait()
            finally:
                self._started.discard(number)

    async def _kill_the_late(self) -> None:
        late = [process for process in self._processes.values() if process.returncode is None]
        if not late:
            return
        waits = [asyncio.create_task(process.wait()) for process in late]
        _, running = await asyncio.wait(waits, timeout=self._deadline_s + GRACE_S)
        if running:
            log.error("worker_processes_killed", processes=len(running))
            self._code = EXIT_PROBLEM
            self._pass_on(signal.SIGKILL)
            await asyncio.wait(running)
