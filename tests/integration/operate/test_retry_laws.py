"""The law of retries, on random histories: however often a person has to help, a key's deliveries succeed in order."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.capability import handler
from hub.deliver.context import Context
from hub.errors import PermanentError
from hub.event import LANES, Event
from hub.operate.parked import list_parked, retry
from hub.store.store import Store
from tests.integration.deliver.workshop import forget_everything, give, message, nothing_is_blocked, route, routing
from tests.support.parts import assemble

ROUTES = routing(route("one", "run"))
SETTINGS = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
BEHIND = frozenset({"waiting", "parked"})


@dataclass(frozen=True)
class Sent:
    """One message, which is parked so often before it succeeds."""

    key: str
    parks: int


sent = st.builds(Sent, key=st.sampled_from("ab"), parks=st.sampled_from([0, 0, 1, 2]))


@SETTINGS
@given(history=st.lists(sent, min_size=3, max_size=12), seed=st.integers(0, 1_000))
async def test_what_is_retried_keeps_its_place(store: Store, history: list[Sent], seed: int) -> None:
    chance, tries = Random(seed), defaultdict[int, int](int)
    done: defaultdict[str, list[int]] = defaultdict(list)

    @handler
    async def run(event: Event, ctx: Context) -> None:
        number: Any = event.data["n"]
        tries[number] += 1
        if tries[number] <= history[number].parks:
            raise PermanentError("for a person")
        done[history[number].key].append(number)

    await forget_everything(store)
    async with assemble(store, ROUTES, {"run": run}) as parts:
        await give(parts, *(message("x", {"n": n, "key": one.key}) for n, one in enumerate(history)))
        await parts.settle(also=BEHIND)
        while parked := await list_parked(store):
            one = chance.choice(parked)
            await retry(store, parts.clock, str(one.delivery_id), actor="ann")
            parts.to_deliver.add(range(LANES))
            await parts.settle(also=BEHIND)
        await parts.settle()
        await nothing_is_blocked(parts)

    assert done == {key: [n for n, one in enumerate(history) if one.key == key] for key in {one.key for one in history}}
