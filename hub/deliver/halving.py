"""Finding the delivery because of which a batch could not be written: in halves, until it stands alone.

Source: docs/guarantees.md, G6.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from hub.deliver.batch import FlushError


@dataclass(frozen=True, slots=True)
class Unwritable:
    """Deliveries that could not be written together, in order, and why."""

    ids: Sequence[int]
    error: FlushError


Run: TypeAlias = Callable[[Sequence[int], FlushError | None], Awaitable[Unwritable | None]]
"""Run these deliveries in one transaction, or write for them that they are refused; what was run may be fewer."""


async def run_all_but_the_culprits(run: Run, unwritable: Unwritable) -> None:
    """Run all of them but the one at fault, for which its failure is written.

    Always in their order: what stands before the culprit in its chain has to run, or fail, before it is refused.
    """
    ids, error = unwritable.ids, unwritable.error
    if error.culprit is None and len(ids) > 1:
        await _run_part(run, ids[: len(ids) // 2])
        await _run_part(run, ids[len(ids) // 2 :])
        return
    culprit = ids[0] if error.culprit is None else error.culprit.id
    at = ids.index(culprit)
    await _run_part(run, ids[:at])
    await run([culprit], error)
    await _run_part(run, ids[at + 1 :])


async def _run_part(run: Run, ids: Sequence[int]) -> None:
    # What was run is what was picked of these; the rest waits behind something, or has been run.
    if ids and (unwritable := await run(ids, None)) is not None:
        await run_all_but_the_culprits(run, unwritable)
