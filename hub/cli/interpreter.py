"""The interpreter, told how a hub uses its memory and its threads."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

OBJECTS_BEFORE_A_LOOK: Final = 100_000
"""A batch makes thousands of objects that go without its help; at 700, as Python has it, it looked dozens of times."""
YOUNG_LOOKS, OLDER_LOOKS = 20, 20
THREAD_WAITS_S: Final = 0.0005
"""A thread that calls a provider needs the interpreter for next to nothing; beside a busy event loop each call waits
for it some ten times, five milliseconds each as Python has it."""
LARGE_BYTES: Final = 128 * 1024
READ_BYTES: Final = 64 * 1024
"""A socket is read into a buffer of this size, cut to what came. At 256 KiB, as asyncio has it, the buffer comes from
the system and goes back to it each time, which takes seven times as long as the reading."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def settle_allocator() -> None:
    """Have large buffers go back to the system one by one. Call it before anything is opened.

    The C library begins like this, but keeps whatever is no larger than the largest that was given back once: then what
    is received lies among what stays, and the holes between are 3 MB after some thousand events. Where it is another
    library there is nothing to tell it.
    """
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    if tell is not None:
        tell(_M_MMAP_THRESHOLD, LARGE_BYTES)
        tell(_M_TRIM_THRESHOLD, LARGE_BYTES)


def settle_interpreter() -> None:
    """Look for cycles more rarely, never among what has been loaded by now. Call it once everything is set up."""
    gc.collect()
    gc.freeze()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if give_back is not None:
        give_back(0)
    gc.set_threshold(OBJECTS_BEFORE_A_LOOK, YOUNG_LOOKS, OLDER_LOOKS)
    sys.setswitchinterval(THREAD_WAITS_S)
    _read_in_small_buffers()


def _read_in_small_buffers() -> None:
    # asyncio has no public word for this. Where the name is gone nothing is told, and reading costs what it did.
    from asyncio import selector_events  # noqa: PLC0415 - for who asks for help alone, it would take its time to load

    transport = getattr(selector_events, "_SelectorTransport", None)
    if transport is not None:
        transport.max_size = READ_BYTES
