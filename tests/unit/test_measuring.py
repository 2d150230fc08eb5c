"""Capabilities are asked how they are from time to time, and one that cannot say has no figures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from hub.api import HubApi
from hub.capability import Capability
from hub.measuring import FAILED, Measuring
from tests.support.running import until

API = cast(HubApi, None)


async def test_figures_are_those_of_the_last_answer() -> None:
    asked = 0

    async def measure(_api: HubApi) -> Sequence[Metric]:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise RuntimeError
        return [GaugeMetricFamily("tips_waiting", "Tips that wait", value=asked)]

    registry, stopping = CollectorRegistry(), asyncio.Event()
    members: list[Any] = [Capability(name="tips", measures=measure), Capability(name="quiet")]
    measuring = Measuring(members, API, look_s=0.001)
    registry.register(measuring)
    failed = FAILED.labels(capability="tips")._value.get()

    await measuring.look()
    await measuring.look()
    assert registry.get_sample_value("tips_waiting") == 2
    await measuring.look()
    assert registry.get_sample_value("tips_waiting") is None
    assert FAILED.labels(capability="tips")._value.get() == failed + 1

    running = asyncio.create_task(measuring.run(stopping))
    await until(lambda: asked > 5)
    stopping.set()
    await running
    assert registry.get_sample_value("tips_waiting") == asked
