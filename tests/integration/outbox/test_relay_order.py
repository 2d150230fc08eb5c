"""Whatever happens on the way, a consumer sees each key's messages as a prefix, then perhaps repeats, then the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.outbox import discard_message, parked_messages, retry_message
from hub.store.store import Store
from hub.transports import OutboundMessage
from tests.integration.outbox.bench import DRAIN_S, LONG_S, Bench
from tests.integration.outbox.broker import Crash, Fate, ScriptedBroker
from tests.support.clock import SettableClock

ROUNDS_MAX = 200
KEYS = ("anna", "bert", "carl")
EXAMPLES = 40

keys = st.sampled_from(KEYS)
fates: st.SearchStrategy[Fate] = st.sampled_from(
    ("nack", "lose_confirm", "unroutable", "down", "raise", "crash", "nack", "lose_confirm")
)


@dataclass
class Script:
    """``faults``: by the number of the handing over, counted over all messages. ``late``: keys stored during a call."""

    first: list[str]
    late: dict[int, list[str]]
    faults: dict[int, Fate]
    crashes_after_call: set[int]
    discards: bool
    batch_size: int
    handed_over: int = field(default=0)


scripts = st.builds(
    Script,
    first=st.lists(keys, min_size=1, max_size=12),
    late=st.dictionaries(st.integers(1, 6), st.lists(keys, max_size=3), max_size=3),
    faults=st.dictionaries(st.integers(1, 25), fates, max_size=6),
    crashes_after_call=st.sets(st.integers(1, 6), max_size=2),
    discards=st.booleans(),
    batch_size=st.integers(1, 8),
)

given_scripts = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given_scripts
@given(script=scripts)
async def test_a_consumer_sees_a_prefix_then_perhaps_repeats(store: Store, script: Script) -> None:
    broker = ScriptedBroker(halts=True)
    stored, discarded = await play(store, broker, script)

    for key in KEYS:
        mine = [one for one in stored if one.startswith(key) and one not in discarded]
        places = [mine.index(one) for one in broker.ids(key) if one not in discarded]
        assert set(places) == set(range(len(mine)))
        # Never ahead of what has been seen: each step goes one on, or back.
        furthest = -1
        for place in places:
            assert place <= furthest + 1
            furthest = max(furthest, place)


@given_scripts
@given(script=scripts)
async def test_blind_pipelining_still_ends_in_order(store: Store, script: Script) -> None:
    broker = ScriptedBroker(halts=False)
    stored, discarded = await play(store, broker, script)

    for key in KEYS:
        mine = [one for one in stored if one.startswith(key) and one not in discarded]
        arrived = [one for one in broker.ids(key) if one not in discarded]
        assert set(arrived) == set(mine)
        last = {one: place for place, one in enumerate(arrived)}
        assert sorted(mine, key=lambda one: last[one]) == mine


async def play(store: Store, broker: ScriptedBroker, script: Script) -> tuple[list[str], set[str]]:
    """Send everything through all faults. Returns what was stored, in order, and what was given up."""
    bench = Bench(store, SettableClock(), broker)
    await bench.clear()
    stored = await bench.put(*script.first)
    discarded: set[str] = set()

    async def store_more() -> None:
        stored.extend(await bench.put(*script.late.pop(len(broker.calls), [])))

    def crash_at_the_end() -> None:
        if len(broker.calls) in script.crashes_after_call:
            raise Crash

    broker.before, broker.at_the_end, broker.fate = store_more, crash_at_the_end, fate_of(script)
    relay = await bench.relay(batch_size=script.batch_size)
    for _ in range(ROUNDS_MAX):
        try:
            is_empty = await relay.drain(DRAIN_S)
        except Crash:
            relay = await bench.relay(batch_size=script.batch_size)
            continue
        bench.clock.advance(LONG_S)
        acted = await act_on_parked(bench, script, discarded)
        if is_empty and not acted and not await bench.backing_off():
            await check_at_rest(bench, stored, discarded)
            return stored, discarded
    raise AssertionError("the outbox does not come to rest")


def fate_of(script: Script) -> Callable[[OutboundMessage], Fate]:
    def fate(message: OutboundMessage) -> Fate:
        script.handed_over += 1
        return script.faults.get(script.handed_over, "confirm")

    return fate


async def act_on_parked(bench: Bench, script: Script, discarded: set[str]) -> int:
    parked = await parked_messages(bench.store)
    for one in parked:
        act = discard_message if script.discards else retry_message
        await act(bench.store, bench.clock, one.seq, actor="somebody")
        if script.discards:
            discarded.add(one.message_id)
    return len(parked)


async def check_at_rest(bench: Bench, stored: list[str], discarded: set[str]) -> None:
    states = await bench.states()
    assert states == {one: "discarded" if one in discarded else "sent" for one in stored}
    assert await bench.blocked() == []


@pytest.mark.parametrize("fate", ["nack", "lose_confirm", "unroutable", "raise"])
async def test_a_fault_in_the_middle_of_a_chain_shows_as_a_repeat_at_most(
    bench: Bench, broker: ScriptedBroker, fate: Fate
) -> None:
    ids = await bench.put("anna", "anna", "anna", "anna")
    script = Script([], {}, {2: fate}, set(), discards=False, batch_size=10)
    broker.fate = fate_of(script)
    relay = await bench.relay()

    await bench.settle(relay)
    for one in await parked_messages(bench.store):
        await retry_message(bench.store, bench.clock, one.seq, actor="somebody")
    await bench.settle(relay)

    repeated = {"lose_confirm": [ids[0], ids[1], *ids[1:]], "raise": [ids[0], *ids]}
    assert broker.ids() == repeated.get(fate, ids)
