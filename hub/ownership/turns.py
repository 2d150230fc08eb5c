"""Transactions of one worker that must not be under way side by side, although all of them hold its fence."""

from __future__ import annotations

from hub.ownership.holding import DELIVER, Kind
from hub.store.store import Fence


def in_turn(fence: Fence, kind: Kind) -> Fence:
    """The fence of a transaction that waits for one of this worker whose commit is under way on a lost connection.

    What that one wrote would be read as if it had not happened, and be done a second time. The fence alone does not
    exclude it: both hold it in share mode. The lock goes with the transaction, so that a pooler does not matter; where
    one connection writes there is none.
    """
    return fence.in_turn((fence.worker_id.int >> 65) + (kind != DELIVER))
