"""Words that a database cannot hold, and waits that no clock can, hurt only the delivery they came from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from hub.capability import handler
from hub.deliver.context import Context
from hub.deliver.settle import WAIT_S_MAX
from hub.errors import NotYet, PermanentError, RetryableError
from hub.event import Event
from hub.store.store import Store
from tests.support.clock import SettableClock
from tests.support.parts import assemble

ROUTE = """
routes:
  - { name: act, match: act, handle: test.act, retry: { attempts: 2, first: 1h, longest: 1h } }
"""


@pytest.mark.parametrize("words", ["half a pair \ud800", "a NUL \x00"])
@pytest.mark.parametrize(
    ("error", "state"), [(RuntimeError, "retrying"), (PermanentError, "parked"), (NotYet, "deferred")]
)
async def test_an_error_that_quotes_what_cannot_be_stored_is_kept_readably(
    store: Store, words: str, error: Callable[[str], Exception], state: str
) -> None:
    @handler
    async def act(event: Event, ctx: Context) -> None:
        if event.data.get("bad"):
            raise error(words)

    async with assemble(store, ROUTE, {"act": act}) as parts:
        bad = await parts.send("act", {"bad": True})
        good = await parts.send("act", {})
        await parts.settle(also=frozenset({"retrying"}))

        [row] = await parts.deliveries(bad.event_id)
        assert (row.state, row.reason.rstrip("?\ufffd").endswith(words[:-1])) == (state, True)
        assert [one.state for one in await parts.deliveries(good.event_id)] == ["done"]


async def test_an_outcome_that_cannot_be_stored_is_kept_readably(store: Store) -> None:
    @handler
    async def act(event: Event, ctx: Context) -> None:
        ctx.conclude("x\x00\ud800" if event.data.get("bad") else "fine")

    async with assemble(store, ROUTE, {"act": act}) as parts:
        await parts.send("act", {"bad": True})
        await parts.send("act", {})
        await parts.settle()

        assert [row.outcome for row in await parts.deliveries()] == ["x\ufffd?", "fine"]


@pytest.mark.parametrize(
    ("delay_s", "waited_s"), [(float("inf"), WAIT_S_MAX), (float("nan"), WAIT_S_MAX), (1e300, WAIT_S_MAX), (5.0, 5.0)]
)
async def test_a_delay_beyond_any_calendar_is_the_longest(
    store: Store, clock: SettableClock, delay_s: float, waited_s: float
) -> None:
    @handler
    async def act(event: Event, ctx: Context) -> None:
        raise RetryableError("come again", delay_s=delay_s)

    async with assemble(store, ROUTE, {"act": act}, clock=clock) as parts:
        await parts.send("act")
        await parts.settle(also=frozenset({"retrying"}))

        assert [row.next_at for row in await parts.deliveries()] == [clock.now() + timedelta(seconds=waited_s)]
