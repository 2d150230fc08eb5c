"""Events that come one by one share a round: a small one keeps a distance to the last."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from hub import spacing
from hub.deliver.batch import BatchRunner
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import route, routing
from tests.support.parts import assemble
from tests.support.patience import until


async def test_what_comes_behind_a_small_round_shares_the_next(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    is_over, waiting = asyncio.Event(), asyncio.Event()
    rounds: list[int] = []
    run: Any = BatchRunner.run

    async def distance(seconds: float) -> None:
        waiting.set()
        await is_over.wait()

    async def counted(self: BatchRunner, conn: Any, works: Any, *more: Any, **named: Any) -> Any:
        rounds.append(len(works))
        return await run(self, conn, works, *more, **named)

    monkeypatch.setattr(spacing, "SPACE_S", 3_600.0)
    monkeypatch.setattr(spacing, "asyncio", SimpleNamespace(get_running_loop=asyncio.get_running_loop, sleep=distance))
    monkeypatch.setattr(BatchRunner, "run", counted)
    async with assemble(store, routing(route("keep", None, more="publish: out"), destinations=["out"]), {}) as parts:
        await parts.send("a")
        await until(lambda: sum(rounds) == 1, "the first to be delivered")
        for _ in range(4):
            await parts.send("a")
        await until(waiting.is_set, "the worker to keep its distance")
        is_over.set()
        await until(lambda: sum(rounds) == 5, "all to be delivered")

    assert [count for count in rounds if count] == [1, 4]


async def test_a_worker_that_is_stopped_while_it_keeps_its_distance_delivers_nothing_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, is_over = asyncio.Event(), asyncio.Event()

    async def distance(self: spacing.Spacing) -> None:
        waiting.set()
        await is_over.wait()

    monkeypatch.setattr(spacing.Spacing, "wait", distance)
    async with assemble(store, routing(route("keep", None, more="publish: out"), destinations=["out"]), {}) as parts:
        await parts.send("a")
        await until(waiting.is_set, "the worker to keep its distance")
        assert parts.worker is not None
        parts.worker.stop()
        is_over.set()
        await parts.worker.ended(timeout_s=10)

        assert [row.state for row in await parts.rows(t.deliveries)] == ["ready"]
