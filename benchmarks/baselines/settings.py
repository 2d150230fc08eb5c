"""Where a baseline finds what it works on: environment variables that the runner sets."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass

from benchmarks.processes import READY
from benchmarks.wiring import SECRET, Names


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses and names; what a baseline does not use is empty."""

    database_url: str
    broker_url: str
    queue_in: str
    queue_out: str
    port: int
    secret: bytes

    @classmethod
    def of_environment(cls) -> Places:
        def read(name: str) -> str:
            return os.environ.get(f"BENCH_{name}", "")

        return cls(
            database_url=read("DATABASE_URL"),
            broker_url=read("BROKER_URL"),
            queue_in=read("QUEUE_IN"),
            queue_out=read("QUEUE_OUT"),
            port=int(read("PORT") or 0),
            secret=read("SECRET").encode(),
        )


def environment_of(
    *, database_url: str = "", broker_url: str = "", names: Names | None = None, port: int = 0, events: int = 0
) -> dict[str, str]:
    """The variables that tell a baseline where things are."""
    return {
        "BENCH_DATABASE_URL": _with_driver(database_url),
        "BENCH_BROKER_URL": broker_url,
        "BENCH_QUEUE_IN": names.queue_in if names is not None else "",
        "BENCH_QUEUE_OUT": names.queue_out if names is not None else "",
        "BENCH_PORT": str(port),
        "BENCH_SECRET": SECRET,
        "BENCH_EVENTS": str(events),
    }


def _with_driver(url: str) -> str:
    scheme, _, rest = url.partition("://")
    drivers = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    return f"{drivers.get(scheme, scheme)}://{rest}" if rest else ""


async def say_ready_and_wait() -> None:
    """Tell the runner that work is taken from now on; return when it says stop."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    print(READY.decode(), flush=True)
    await stopping.wait()
