"""The interpreter, told how a hub uses its memory and its threads."""

from __future__ import annotations

import gc
import sys
from typing import Final

OBJECTS_BEFORE_A_LOOK: Final = 100_000
"""A batch makes thousands of objects that go without its help; at 700, as Python has it, it looked dozens of times."""
YOUNG_LOOKS, OLDER_LOOKS = 20, 20
THREAD_WAITS_S: Final = 0.0005
"""A thread that calls a provider needs the interpreter some ten times a call, each time for next to nothing. At five
milliseconds, as Python has it, a busy event loop adds half the time that the provider takes."""


def settle_interpreter() -> None:
    """Look for cycles more rarely, never among what has been loaded by now. Call it once everything is set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BEFORE_A_LOOK, YOUNG_LOOKS, OLDER_LOOKS)
    sys.setswitchinterval(THREAD_WAITS_S)
