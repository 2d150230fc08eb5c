"""Long runs that somebody starts by hand: what they say, and how they are told to stop."""

from __future__ import annotations

import asyncio
import signal
import time


def say(words: str) -> None:
    """A line with its time, at once."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def end_on_sigterm() -> None:
    """Told to stop, the task under way is cancelled: it still ends its servers and drops its databases."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
