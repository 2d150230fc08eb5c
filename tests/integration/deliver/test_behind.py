"""A worker says whether it is behind, so that queues are read no faster than it works."""

from __future__ import annotations

from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event
from hub.store.store import Store
from tests.integration.deliver.workshop import give, message, route, routing, states
from tests.support.parts import Parts, assemble
from tests.support.patience import until

BATCH, COUNT = 2, 5


@handler()
async def note(event: Event, ctx: Context) -> None:
    """Nothing to do."""


async def _all_done(parts: Parts) -> bool:
    return states(await parts.deliveries()) == ["done"] * COUNT


async def test_a_worker_is_behind_while_its_batches_are_full(store: Store) -> None:
    told: list[bool] = []
    async with assemble(store, routing(route("note", "note")), {"note": note}, start=False) as parts:
        parts.around.pace.tell = lambda *, is_behind: told.append(is_behind)  # type: ignore[method-assign]
        await give(parts, *(message("note", {"number": number}) for number in range(COUNT)))

        await parts.start(batch_size=BATCH)
        await until(lambda: _all_done(parts), "all to be done")
        await parts.stop()

    assert told[:3] == [True, True, False]
    assert not told[-1]
