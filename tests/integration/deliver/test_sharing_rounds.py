"""A worker whose last round has held others up, or failed, has a commit of its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from hub.deliver import worker
from hub.deliver.picker import pick
from hub.errors import StoreUnavailableError
from hub.store.store import Store
from tests.support.parts import assemble
from tests.support.running import until

ROUTES = """
destinations: { out: { queue: out } }
routes:
  - { name: forward, match: "#", publish: out }
"""
SLOW_S = 0.02
Pick = Callable[..., Any]


def picks_at_once() -> Pick:
    return pick


def picks_slowly() -> Pick:
    async def picks(*given: Any, **more: Any) -> Any:
        await asyncio.sleep(SLOW_S)
        return await pick(*given, **more)

    return picks


def fails_once() -> Pick:
    failures = [StoreUnavailableError("gone")]

    async def picks(*given: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return await pick(*given, **more)

    return picks


@pytest.mark.parametrize(
    ("picks", "bound_s", "shares"),
    [
        (picks_at_once, math.inf, [True, True]),
        (picks_slowly, SLOW_S / 2, [True, False]),
        (fails_once, math.inf, [True, False]),
    ],
    ids=["short", "slow", "failed"],
)
async def test_a_worker_shares_a_commit_while_its_rounds_are_short(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    picks: Callable[[], Pick],
    bound_s: float,
    shares: list[bool],
) -> None:
    told: list[bool] = []
    write = store.write

    async def noted(work: Any, **how: Any) -> Any:
        if work.__qualname__.startswith("Worker.") and "may_share" in how:
            told.append(how["may_share"])
        return await write(work, **how)

    monkeypatch.setattr(store, "write", noted)
    monkeypatch.setattr(worker, "pick", picks())
    monkeypatch.setattr(worker, "SHARED_S_MAX", bound_s)
    async with assemble(store, ROUTES, {}) as parts:
        await parts.send("first", {"n": 1})
        await until(lambda: bool(told))
        await parts.send("second", {"n": 2})
        await until(lambda: len(told) >= 2)
        await parts.settle()

    assert told[:2] == shares
