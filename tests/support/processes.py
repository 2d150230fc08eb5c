"""Servers of a test's own: a free port for them, and one command at a time with a deadline."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

COMMAND_S_MAX = 180.0


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def command(*arguments: str, env: Mapping[str, str] | None = None, user: str | None = None) -> None:
    """Run a program to its end. Raises RuntimeError with what it said when it fails."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        env=None if env is None else dict(env),
        user=user,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(COMMAND_S_MAX):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise RuntimeError(f"{arguments[0]} did not end within {COMMAND_S_MAX:g} s") from None
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {said.decode(errors='replace')[-2_000:]}")
