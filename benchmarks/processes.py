"""Child processes under measurement: started, waited for within bounds, and what the kernel says they used.

Figures are of whole process trees. The servers are found by name; their figures include what
else uses them at the time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1].absolute()
TICKS = os.sysconf("SC_CLK_TCK")
START_S_MAX = 240.0
STOP_S_MAX = 120.0
READY = b"READY"
"""What a baseline prints once it takes work."""
LOG_CHARS_SHOWN = 2_000
STARTED_AT = 19
"""Where /proc/PID/stat, from the state on, says when the process started."""

IsReady = Callable[["Child"], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Child:
    """A running process, with what it has started."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_s(self) -> float:
        """Processor seconds that the tree has used, user and system."""
        return tree_cpu_s(self.pid)

    def peak_mb(self) -> float:
        """The most memory that each process of the tree has had, added up (VmHWM)."""
        return sum(_peak_mb(pid) for pid in tree_of(self.pid))

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-LOG_CHARS_SHOWN:] if self.log.exists() else ""


@asynccontextmanager
async def child(
    arguments: Sequence[str], *, home: Path, environ: Mapping[str, str] | None = None, is_ready: IsReady | None = None
) -> AsyncIterator[Child]:
    """Run ``python ARGUMENTS`` until the end of the block, then stop it in order (SIGTERM), or kill it.

    Ready is what ``is_ready`` says, else a line READY in its output. Raises RuntimeError when it ends before that or
    does not get there in time.
    """
    log = home / f"{Path(arguments[-1]).name.replace('.', '-')}.log"
    with open(log, "wb") as file:  # noqa: ASYNC230 - nothing else runs yet
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=PROJECT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **(environ or {})},
            stdout=file,
            stderr=file,
        )
    started = Child(process, log)
    try:
        await _until_ready(started, is_ready or _has_said_ready)
        yield started
    finally:
        await _stop(process)


@asynccontextmanager
async def home() -> AsyncIterator[Path]:
    """A folder that goes at the end."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        yield Path(folder)


async def run_child(arguments: Sequence[str], *, environ: Mapping[str, str], timeout_s: float) -> str:
    """Run ``python ARGUMENTS`` to its end and return what it printed. Raises RuntimeError when it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise RuntimeError(f"{' '.join(arguments)}: not done within {timeout_s:g} s") from None
    finally:
        await _stop(process)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {err.decode(errors='replace')[-LOG_CHARS_SHOWN:]}")
    return out.decode()


async def _has_said_ready(started: Child) -> bool:
    return READY in started.log.read_bytes()


async def _until_ready(started: Child, is_ready: IsReady) -> None:
    try:
        async with asyncio.timeout(START_S_MAX):
            while not await is_ready(started):
                if started.process.returncode is not None:
                    raise RuntimeError(f"it ended before it was ready: {started.said()}")
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise RuntimeError(f"not ready within {START_S_MAX:g} s: {started.said()}") from None


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()


def tree_of(root: int) -> list[int]:
    """The process and everything below it."""
    children: dict[int, list[int]] = {}
    for pid, fields in _processes():
        children.setdefault(int(fields[1]), []).append(pid)
    found, unseen = [], [root]
    while unseen:
        found.append(unseen.pop())
        unseen += children.get(found[-1], [])
    return found


def tree_cpu_s(root: int) -> float:
    """Processor seconds of the tree, those of its ended and waited-for children included."""
    ticks = 0
    for pid in tree_of(root):
        fields = _stat(pid)
        if fields:
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def server_cpu_s(name: str) -> float:
    """Processor seconds of the tree of this name that has run longest; 0 where none runs on this machine.

    Not of all: commands such as rabbitmqctl go by the same name, and take their seconds with them when they end.
    """
    named = {pid: fields for pid, fields in _processes() if _name_of(pid) == name}
    roots = [pid for pid, fields in named.items() if int(fields[1]) not in named]
    return tree_cpu_s(min(roots, key=lambda pid: int(named[pid][STARTED_AT]))) if roots else 0.0


def postgres_cpu_s() -> float:
    return server_cpu_s("postgres")


def rabbit_cpu_s() -> float:
    return server_cpu_s("beam.smp")


def _processes() -> list[tuple[int, list[str]]]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [(pid, fields) for pid in pids if (fields := _stat(pid))]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: 1 is the parent, 11 to 14 are the times; empty when gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _peak_mb(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0
