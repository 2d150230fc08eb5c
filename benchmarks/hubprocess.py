"""The hub under measurement: a real child process with its own home, port and database."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

PROJECT = Path(__file__).parents[1].absolute()
WEBHOOK_KEY = "bench-webhook-key"
START_S_MAX = 30.0
STOP_S_MAX = 30.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class HubProcess:
    """A running hub."""

    pid: int
    url: str
    home: Path

    def cpu_s(self) -> float:
        """Processor seconds that it has used, user and system."""
        return cpu_s_of(self.pid)

    def peak_mb(self) -> float:
        """The most memory that it has had (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        return 0.0


def cpu_s_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def postgres_cpu_s() -> float:
    """Processor seconds of every PostgreSQL process of this machine, those that have ended included."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "comm").read_text().strip() == "postgres":
                    total += cpu_s_of(int(entry.name))
            except OSError:
                continue
    return total


@asynccontextmanager
async def hub_process(home: Path, port: int, database_url: str) -> AsyncIterator[HubProcess]:
    """Start ``hub run`` and wait until it is ready; stop it in order at the end."""
    environ = {
        "PATH": os.environ["PATH"],
        "HUB_HOME": str(home),
        "HUB_PORT": str(port),
        "HUB_ROUTING": str(PROJECT / "benchmarks" / "routing.yaml"),
        "HUB_JWT_SECRET": "bench-jwt-secret-of-32-characters!",
        "HUB_API_KEY": "bench-api-key",
        "BENCH_WEBHOOK_KEY": WEBHOOK_KEY,
        "PYTHONPATH": str(PROJECT),
    }
    if database_url:
        environ["HUB_DATABASE_URL"] = database_url
    with open(home / "hub.log", "wb") as log:  # noqa: ASYNC230 - nothing else runs yet
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub", "run", "--log-json", env=environ, stdout=log, stderr=log
        )
    hub = HubProcess(process.pid, f"http://127.0.0.1:{port}", home)
    try:
        await _ready(hub, process)
        yield hub
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()


async def _ready(hub: HubProcess, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_S_MAX), aiohttp.ClientSession() as http:
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"the hub ended: {(hub.home / 'hub.log').read_text()[-2000:]}")
            with suppress(aiohttp.ClientError):
                async with http.get(f"{hub.url}/readyz") as response:
                    body = await response.json()
                    if response.status == 200 and body["checks"]["lanes"]["ok"]:
                        return
            await asyncio.sleep(0.05)
