"""The garbage collector of cycles, told how a hub uses its memory."""

from __future__ import annotations

import gc

OBJECTS_BEFORE_A_LOOK = 100_000
"""A batch makes thousands of objects that go without its help; at 700, as Python has it, it looked dozens of times."""
YOUNG_LOOKS, OLDER_LOOKS = 20, 20


def settle_collector() -> None:
    """Leave alone what has been loaded by now, and look for cycles more rarely. Call it once everything is set up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BEFORE_A_LOOK, YOUNG_LOOKS, OLDER_LOOKS)
