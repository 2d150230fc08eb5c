"""Who goes first where not everybody can."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Priority(IntEnum):
    """What a call is for. The smaller goes first, and the larger leaves room for it."""

    MONEY = 0
    """It moves money, or decides whether money moves. What says nothing else is taken for this."""
    READ = 1
    """Somebody asked for it: a webhook that gave a hint, a person who waits for a page."""
    POLL = 2
    """One thing is looked at again by its own timer."""
    SWEEP = 3
    """Everything is looked at, in case something was missed."""


SHARE_OF: Final = {Priority.MONEY: 1.0, Priority.READ: 0.75, Priority.POLL: 0.5, Priority.SWEEP: 0.25}
"""How full a provider may be and still take one of this kind: the rest is kept for those who go before it."""


def room_for(limit: int, priority: Priority) -> int:
    """How many may be in hand before one of this priority has to wait; never none."""
    return max(1, int(limit * SHARE_OF[priority]))
