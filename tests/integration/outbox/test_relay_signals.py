"""The relay learns of new messages by signal, however it comes to lie beside a sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest

from hub.outbox import relay as relay_module
from hub.outbox.picker import lanes_with_work
from hub.signal import ANY_LANE
from hub.spacing import Spacing
from hub.store.alone import Source
from tests.integration.outbox.bench import LONG_S, Bench, sent, until


async def test_a_message_that_is_told_of_while_a_sweep_reads_does_not_wait_for_the_next_sweep(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await bench.put("anna")
    relay = await bench.relay(sweep_s=LONG_S)
    told = 0

    async def read_and_be_overtaken(source: Source, lanes: Sequence[int], now: datetime) -> set[int]:
        nonlocal told
        found = await lanes_with_work(source, lanes, now)
        told += 1
        if told == 2:
            # Behind the sweep's snapshot, and before it answers.
            ids.extend(await bench.put("bert"))
            relay._signal.add([ANY_LANE])
        return found

    monkeypatch.setattr(relay_module, "lanes_with_work", read_and_be_overtaken)
    running = asyncio.create_task(relay.run())
    relay._signal.add([ANY_LANE])

    async def all_sent() -> bool:
        return await bench.states() == sent(ids) and len(ids) == 2

    await until(all_sent)
    relay.stop()
    await running


async def test_a_relay_that_is_stopped_while_it_keeps_its_distance_sends_nothing_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, is_over = asyncio.Event(), asyncio.Event()

    async def distance(self: Spacing) -> None:
        waiting.set()
        await is_over.wait()

    monkeypatch.setattr(Spacing, "wait", distance)
    await bench.put("anna")
    relay = await bench.relay(sweep_s=LONG_S)
    running = asyncio.create_task(relay.run())
    await asyncio.wait_for(waiting.wait(), LONG_S)

    relay.stop()
    is_over.set()
    await asyncio.wait_for(running, LONG_S)

    assert set((await bench.states()).values()) == {"ready"}
