"""What a round leaves of what it picked: which chains go on, and whether anything could run at once."""

from __future__ import annotations

from hub.deliver.batch import BatchResult
from hub.deliver.picker import Picked
from hub.deliver.work import Deferred, Failed


def may_have_left(picked: Picked, result: BatchResult) -> bool:
    """Whether what has run leaves something that could run at once, and that nobody else will tell of.

    A round that has read and finished all that there was leaves nothing: what comes after it has a signal of its own.
    """
    if not result.attempts:
        return False
    if picked.is_part or picked.waits.blocks or len(result.attempts) < len(picked.works):
        return True
    # Behind one that failed its chain may be due already, behind one with further keys others.
    return any(one.work.barrier or isinstance(one.ending, Failed | Deferred) for one in result.attempts)


def chains_that_go_on(picked: Picked, result: BatchResult) -> set[int]:
    """The due chains of which something was run, or nothing was left; the others stay as they are, due."""
    left = {work.chain for work in picked.works} - {attempt.work.chain for attempt in result.attempts}
    return picked.drained - left


def chains_not_run(picked: Picked, result: BatchResult) -> set[int]:
    """The chains of which something was picked and has not run: a suspect, one for which there was no time."""
    run = {attempt.work.id for attempt in result.attempts}
    return {work.chain for work in picked.works if work.id not in run}
