"""From the broker's answers to what is written: per chain, everything up to the first message that did not go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import assert_never

from hub.clock import Clock
from hub.outbox.marks import Block, Failure, Marks
from hub.outbox.picker import Head, Picked
from hub.transports.base import Confirmed, NotConfirmed, PublishResult, Unroutable

BACKOFF_S_FIRST = 0.5
BACKOFF_S_MAX = 60.0


def judge(picked: Picked, results: Mapping[int, PublishResult], clock: Clock) -> Marks:
    """What to write. ``results`` by row; a row without one belongs to a destination that is no longer declared.

    A message that a broker refuses is tried for ever, ever more slowly: nothing is lost because a queue is full. One
    that cannot be routed is parked, since only a person can make it so.
    """
    marks = Marks(waiting=list(picked.behind))
    marks.blocks = [Block(head.chain, head.lane, "parked", None) for head in picked.stuck]
    now = clock.now()
    for head, look_s in picked.put_off:
        marks.put_off[head.chain] = now + timedelta(seconds=look_s * clock.jitter())
    chains: defaultdict[int, list[Head]] = defaultdict(list)
    for head in picked.heads:
        chains[head.chain].append(head)
    for chain, heads in chains.items():
        if _judge_chain(heads, results, marks, clock) and chain in picked.due:
            marks.released.add(chain)
    return marks


def _judge_chain(heads: Sequence[Head], results: Mapping[int, PublishResult], marks: Marks, clock: Clock) -> bool:
    """True when all went. What was confirmed behind one that was not is not believed: it is sent again, in order."""
    for place, head in enumerate(heads):
        result = results.get(head.seq, Unroutable(f"destination {head.destination!r} is not in routing.yaml"))
        match result:
            case Confirmed():
                marks.sent.append(head.seq)
                continue
            case Unroutable(reason):
                block = Block(head.chain, head.lane, "parked", None)
            case NotConfirmed(_, was_tried=False):
                # It stays as it is, and so do those behind it: nothing was held against them.
                return False
            case NotConfirmed(reason):
                next_at = clock.now() + timedelta(seconds=backoff_s(head.attempts + 1) * clock.jitter())
                block = Block(head.chain, head.lane, "backoff", next_at)
            case _:
                assert_never(result)
        marks.failures.append(Failure(head, reason, block))
        marks.waiting += heads[place + 1 :]
        return False
    return True


def backoff_s(attempts: int) -> float:
    """Seconds until the next attempt after so many: exponential, capped."""
    return min(BACKOFF_S_MAX, BACKOFF_S_FIRST * 2.0 ** min(attempts - 1, 30))


def word_for(result: PublishResult | None) -> str | None:
    """The metric's word for what became of a message; None when it was not sent."""
    match result:
        case None:
            return "undeclared"
        case Confirmed():
            return "confirmed"
        case Unroutable():
            return "unroutable"
        case NotConfirmed():
            return "not_confirmed" if result.was_tried else None
    assert_never(result)
