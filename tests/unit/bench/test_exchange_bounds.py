"""What holds exchanges back in their benchmark, and that the project's own rules take it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.exchanges import LATENCY_S, Bound, Log, settings_for
from hub.routing import load_routing


def test_the_narrower_bound_counts() -> None:
    assert Bound(in_flight=4).calls_per_s() == pytest.approx(4 / LATENCY_S)
    assert Bound(in_flight=4).calls_per_s(0.2) == pytest.approx(20.0)
    assert Bound(per_s=10).calls_per_s() == 10.0


def test_the_speed_is_taken_in_the_middle_of_the_run() -> None:
    # Nothing but the first and the last tenth is slow.
    middle = [10.0 + number / 10 for number in range(18)]
    gifts_s = [0.0, 5.0, *middle, 20.0]
    looks_s = [1.0, *(one + 0.05 for one in middle[:-1]), 21.0]

    log = Log(gifts_s, sorted(gifts_s + looks_s))

    assert log.gifts_per_s() == pytest.approx(10.0, abs=0.7)
    # Between the tenths there are 16 gifts, and a look after each.
    assert log.calls_per_s() == pytest.approx(2 * log.gifts_per_s(), abs=0.7)


def test_the_bound_is_in_the_rules(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, "http://127.0.0.1:1", Bound(in_flight=2, per_s=7))

    provider = load_routing(settings["HUB_ROUTING"], environ=settings).config.providers["paypay"]
    assert provider.rate is not None
    assert (provider.in_flight, provider.rate.per_second) == (2, 7.0)
