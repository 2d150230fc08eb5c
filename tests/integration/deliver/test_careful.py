"""After a process died or failed, the next one is careful with what was in hand, and quick with the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from hub.capability import handler
from hub.deliver.batch import BatchRunner
from hub.deliver.context import Context
from hub.deliver.worker import Worker
from hub.event import Event
from hub.ownership.holding import DELIVER
from hub.store import tables as t
from hub.store.store import Store
from tests.support.clock import SettableClock
from tests.support.owning import alone
from tests.support.parts import assemble
from tests.support.running import environment, running, until

ROUTE = """
routes:
  - { name: act, match: act, handle: test.act, retry: { attempts: 3, first: 1s, longest: 1s } }
"""


@handler
async def act(event: Event, ctx: Context) -> None:
    """All is well."""


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many deliveries each batch ran, in order; looks that found nothing left out."""
    sizes: list[int] = []
    run = BatchRunner.run

    async def counting(self: BatchRunner, conn: Any, works: Sequence[Any], *rest: Any, **more: Any) -> Any:
        sizes.extend([len(works)] if works else [])
        return await run(self, conn, works, *rest, **more)

    monkeypatch.setattr(BatchRunner, "run", counting)
    return sizes


async def leave_behind(store: Store, clock: SettableClock, number: int) -> None:
    """A worker has died, and so many deliveries are ready."""
    async with assemble(store, ROUTE, {"act": act}, clock=clock, start=False) as parts:
        accepting = asyncio.create_task(parts.inbox.run())
        await asyncio.gather(*(parts.send("act", {"key": "one customer"}) for _ in range(number)))
        parts.inbox.stop()
        await accepting
    await alone(store, clock)


async def test_the_backlog_of_a_dead_process_is_delivered_in_batches(
    store: Store, clock: SettableClock, batches: list[int]
) -> None:
    await leave_behind(store, clock, 100)

    async with assemble(store, ROUTE, {"act": act}, clock=clock) as parts:
        assert parts.holding is not None
        assert len(parts.holding.suspects) == 100
        await parts.settle()

        assert batches == [100]
        assert {(row.state, row.attempts) for row in await parts.deliveries()} == {("done", 1)}


async def test_what_was_tried_when_a_process_died_runs_alone(
    store: Store, clock: SettableClock, batches: list[int]
) -> None:
    await leave_behind(store, clock, 10)
    async with store.reading() as conn:
        ids = sorted([row.id for row in await conn.execute(t.deliveries.select())])
    tried = update(t.deliveries).where(t.deliveries.c.id.in_(ids[4:6])).values(attempts=1)
    await store.write(lambda conn: conn.execute(tried))

    async with assemble(store, ROUTE, {"act": act}, clock=clock) as parts:
        await parts.settle()

        assert batches == [4, 1, 1, 4]
        assert [row.attempts for row in await parts.deliveries()] == [1] * 4 + [2] * 2 + [1] * 4


async def test_only_suspects_are_judged_by_the_processes_that_ended_while_they_ran(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leave_behind(store, clock, 3)
    async with store.reading() as conn:
        ordinary, suspect, last = sorted([row.id for row in await conn.execute(t.deliveries.select())])
    # It has used up its attempts under the rules of today, which were more patient yesterday.
    tried = update(t.deliveries).where(t.deliveries.c.id.in_([ordinary, suspect])).values(attempts=3)
    await store.write(lambda conn: conn.execute(tried))
    answers = [frozenset({suspect})]

    async def counted(self: Worker, *_: Any) -> frozenset[int]:
        # Between this look and the next, the ordinary one has become due.
        self._suspects.clear()
        return answers.pop() if answers else frozenset()

    monkeypatch.setattr(Worker, "_count_suspects", counted)
    async with assemble(store, ROUTE, {"act": act}, clock=clock) as parts:
        await parts.settle()

        assert [(row.id, row.state) for row in await parts.deliveries()] == [
            (one, "done") for one in (ordinary, suspect, last)
        ]


async def test_a_process_that_fails_leaves_its_successor_careful(database_url: str, tmp_path: Path) -> None:
    # Its lease does not run out: that it has failed is seen otherwise.
    environ = environment(tmp_path, database_url, HUB_LEASE_S="600")
    async with running(environ) as one:
        await until(lambda: one.hub.owner is not None and one.hub.owner.owned(DELIVER))
        one.hub.failed.set()

    async with running(environ) as other:
        await until(lambda: other.hub.owner is not None and other.hub.owner.owned(DELIVER))
        states = [row.state for row in await other.rows(t.workers)]

    # At once, and not as after a stop in order.
    assert sorted(states) == ["lost", "running"]
