"""A batch locks ahead for all of its deliveries at once, takes no more of them than it may, and ends in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver import batch
from hub.deliver.context import Context
from hub.event import Event
from hub.ledger import Account, Move
from hub.money import Money
from hub.store.store import Store
from tests.integration.deliver.workshop import Journal, give, keys_of_one_lane, message, route, routing, states
from tests.support.parts import Parts, assemble
from tests.support.patience import until

CLEARING = Account("clearing", "JPY", "debit", running=False)
COUNT = 6


def wallet(key: str) -> Account:
    return Account(f"wallet:{key}", "JPY", "credit")


class Ahead:
    """Notes what it was asked for; of a poisoned event it can make nothing."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    async def __call__(self, events: Sequence[Event], conn: AsyncConnection) -> Sequence[Account]:
        keys = [str(event.data["key"]) for event in events]
        self.asked.append(keys)
        if any("poison" in event.data for event in events):
            raise ValueError("nobody knows whose it is")
        return [wallet(key) for key in keys]

    def __hash__(self) -> int:
        return id(self)


async def run(store: Store, ahead: Ahead, *more: dict[str, Any]) -> Journal:
    journal = Journal()

    @handler(ahead=ahead)
    async def pay(event: Event, ctx: Context) -> None:
        key = str(event.data["key"])
        await ctx.ledger.post(f"pay:{event.id}", "pay", [Move(CLEARING, wallet(key), Money(1, "JPY"))])
        journal.done(key, event.data["number"])

    keys = keys_of_one_lane(COUNT)
    messages = [
        *(message("pay", {"key": key, "number": number}) for number in (1, 2) for key in keys),
        *(message("pay", {"key": "poisoned", "number": 1, **one}) for one in more),
    ]
    async with assemble(store, routing(route("pay", "pay")), {"pay": pay}) as parts:
        await give(parts, *messages)
        await until(lambda: _all_done(parts, len(messages)), "all to be done")
    assert {key: journal.of(key) for key in keys} == {key: [1, 2] for key in keys}
    return journal


async def _all_done(parts: Parts, count: int) -> bool:
    found = states(await parts.deliveries())
    return len(found) == count and set(found) <= {"done", "parked"}


async def test_what_a_batch_will_lock_is_asked_for_once(store: Store) -> None:
    ahead = Ahead()

    await run(store, ahead)

    assert [len(keys) for keys in ahead.asked] == [2 * COUNT]


async def test_a_batch_takes_no_more_than_may_lock_ahead_and_keeps_the_order(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "AHEAD_MAX", 4)
    ahead = Ahead()

    await run(store, ahead)

    assert [len(keys) for keys in ahead.asked] == [4] * (2 * COUNT // 4)


async def test_a_batch_ends_when_its_time_is_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_S_MAX", 0.0)
    ahead = Ahead()

    await run(store, ahead)

    # One runs in each batch; the last one is alone, and locks by itself.
    assert [len(keys) for keys in ahead.asked] == list(range(2 * COUNT, 1, -1))


async def test_one_that_cannot_be_foreseen_holds_nobody_else_up(store: Store) -> None:
    await run(store, Ahead(), {"poison": True})
