"""Several processes behind one address tell their figures together."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hub.cli.supervisor import Leash
from hub.ingress import processes
from hub.ingress.processes import Processes


def figures(attempts: int) -> bytes:
    registry = CollectorRegistry()
    Counter("hub_attempts_total", "Attempts", ["route"], registry=registry).labels('a "route"\n').inc(attempts)
    Gauge("hub_lanes", "Lanes", registry=registry).set(128)
    Histogram("hub_seconds", "Seconds", buckets=(1, 2), registry=registry).observe(1.5)
    return generate_latest(registry)


async def test_every_figure_of_every_process_is_told_once_with_its_number(tmp_path: Path) -> None:
    both = [Processes(tmp_path, number) for number in (0, 1)]
    for number, one in enumerate(both):
        await one.start(partial(figures, 5 + number))
    try:
        text = (await both[1].merged(figures(6))).decode()
    finally:
        for one in both:
            await one.stop()

    families = {family.name: family for family in text_string_to_metric_families(text)}
    attempts = [one for one in families["hub_attempts"].samples if one.name == "hub_attempts_total"]
    assert [(one.labels["process"], one.value) for one in attempts] == [("0", 5.0), ("1", 6.0)]
    assert {one.labels["route"] for one in attempts} == {'a "route"\n'}
    assert {one.labels["process"]: one.value for one in families["hub_lanes"].samples} == {"0": 128.0, "1": 128.0}
    assert families["hub_seconds"].type == "histogram"
    assert text.count("# TYPE hub_attempts_total counter") == 1
    assert both[0]._numbers() == []


async def test_a_process_that_is_gone_or_hangs_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ANSWER_S_MAX", 0.1)
    asked = Processes(tmp_path, 0)
    (tmp_path / "1.metrics").touch()  # as a process leaves it that was killed
    given_up = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        given_up.set()

    hanging = await asyncio.start_unix_server(say_nothing, tmp_path / "2.metrics")
    try:
        text = (await asked.merged(figures(5))).decode()
    finally:
        await given_up.wait()
        hanging.close()
        await hanging.wait_closed()

    assert {one.labels["process"] for family in text_string_to_metric_families(text) for one in family.samples} == {"0"}


def test_a_child_is_told_its_number_and_where_the_others_are() -> None:
    leash = Leash(5, None, greets=True, number=3, directory="/tmp/a:b")

    assert Leash.read(str(leash)) == leash
