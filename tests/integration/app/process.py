"""A real ``hub run`` in a process of its own, to be signalled, killed and started again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from tests.support.patience import STILL_S_MAX
from tests.support.running import PROJECT
from tests.support.secrecy import leaks

PROGRAM = (sys.executable, "-m", "hub")
START_S_MAX = STILL_S_MAX
END_S_MAX = STILL_S_MAX
_LISTENS = re.compile(r"listens on (http://\S+)")


class HubProcess:
    """One process. ``said`` is everything that it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        self._changed = asyncio.Event()
        self._reading = [asyncio.create_task(self._read(stream)) for stream in (process.stdout, process.stderr)]

    @property
    def url(self) -> str:
        found = _LISTENS.search(self.said)
        assert found is not None, self.said
        return found[1].rstrip(".")

    async def says(self, words: str, *, deadline_s: float = START_S_MAX) -> None:
        """Wait until it has printed these words."""
        try:
            async with asyncio.timeout(deadline_s):
                while words not in self.said:
                    self._changed.clear()
                    assert self.process.returncode is None, self.said
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{words!r} was not said:\n{self.said}") from None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code, once it has ended and everything it printed has been read. One that does not end is killed."""
        try:
            async with asyncio.timeout(END_S_MAX):
                code = await self.process.wait()
                await asyncio.gather(*self._reading)
        finally:
            if self.process.returncode is None:
                self.process.kill()
        assert leaks([self.said]) == []
        return code

    async def _read(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        while chunk := await stream.read(65_536):
            self.said += chunk.decode("utf-8", "replace")
            self._changed.set()
        self._changed.set()


async def start(environ: Mapping[str, str], *arguments: str, by: Sequence[str] = PROGRAM) -> HubProcess:
    """Start ``hub run`` with these variables and the few that every process needs.

    ``by``: what runs a command of the hub. One that is forked (``printed.forking``) must end by itself: it hears no
    signal.
    """
    usual = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(*by, "run", *arguments),
        cwd=PROJECT,
        env=usual | {"PYTHONUNBUFFERED": "1"} | dict(environ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return HubProcess(process)


@asynccontextmanager
async def hub_process(environ: Mapping[str, str], *arguments: str) -> AsyncIterator[HubProcess]:
    """A hub that listens; whatever happens, the process is gone in the end."""
    hub = await start(environ, *arguments)
    try:
        await hub.says("listens on")
        yield hub
    finally:
        if hub.process.returncode is None:
            hub.process.kill()
        await hub.ended()
