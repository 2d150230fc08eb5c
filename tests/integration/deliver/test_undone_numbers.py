"""The number of what was undone may be drawn again, by somebody else: nothing kept under it may stand in for theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import give, message
from tests.support.parts import assemble
from tests.support.running import until

ROUTES = """
destinations: { out: { queue: out } }
routes:
  - { name: note, match: "#", handle: test.note, publish: out }
"""
RERUN_DELAY_S = 0.5


class _Conflict(Exception):
    sqlstate = "40001"


def refuse_commit(store: Store, monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> list[str]:
    """Let the first transaction at whose end ``when`` says so be refused, and run again half a second later."""
    fenced, refused = store._fenced, list[str]()

    async def refusing(*given: Any) -> Any:
        result = await fenced(*given)
        if not refused and when():
            refused.append("once")
            raise OperationalError("COMMIT", None, _Conflict())
        return result

    monkeypatch.setattr(store, "_fenced", refusing)
    monkeypatch.setattr("hub.store.store.RERUN_DELAY_S", RERUN_DELAY_S)
    return refused


async def test_an_event_that_takes_the_number_of_one_undone_is_delivered_as_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, object]] = []

    @handler
    async def note(event: Event, ctx: Context) -> None:
        seen.append((event.type, event.data))

    async with assemble(store, ROUTES, {"note": note}) as parts:
        refused = refuse_commit(store, monkeypatch, lambda: len(parts.around.recent_events) > 0)
        first = asyncio.create_task(parts.send("first", {"of": "first"}))
        await until(lambda: bool(refused))

        await give(parts, message("second", {"of": "second"}))
        await until(lambda: bool(seen))
        await first
        await parts.settle()

    assert seen == [("second", {"of": "second"}), ("first", {"of": "first"})]


async def test_a_message_whose_round_may_be_undone_is_not_kept_where_its_number_is_drawn_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    @handler
    async def note(event: Event, ctx: Context) -> None:
        ran.append(event.type)
        await ctx.publish({"type": event.type})

    async with assemble(store, ROUTES, {"note": note}) as parts:
        refused = refuse_commit(store, monkeypatch, lambda: bool(ran))
        await parts.send("first")
        await until(lambda: bool(refused))
        left_over = len(parts.around.recent_messages)
        # It is seen to be committed before its worker hears of that.
        await until(lambda: len(ran) == 2 and len(parts.around.recent_messages) == 1)
        await parts.settle()
        [row] = await parts.rows(t.outbox)
        found = parts.around.recent_messages.take(row.seq)

    assert ran == ["first", "first"]
    assert left_over == (0 if store.dialect == "sqlite" else 1)
    assert found is not None
    assert found.message_id == row.message_id
