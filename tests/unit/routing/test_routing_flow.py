"""``providers:`` and the rates of destinations: what they mean where little is said, and where a mistake is."""

from __future__ import annotations

import pytest

from hub.routing import Known
from tests.unit.routing.build import load, problems

BASE = """version: 1
destinations:
  feed: { queue: feed, rate: { per_second: 0.5 } }
providers:
  bank: { in_flight: 4, rate: { per_second: 10, burst: 20 }, circuit: { failures: 5, of: 20, open: 1m } }
  acme: { circuit: null }
  other: {}
"""


def test_what_is_not_said_has_a_default() -> None:
    config = load(BASE).config
    bank, acme, other = (config.providers[name] for name in ("bank", "acme", "other"))

    assert bank.circuit is not None
    assert (bank.in_flight, bank.circuit.window, bank.circuit.open_s) == (4, 20, 60)
    assert acme.circuit is None
    assert other.circuit is not None
    assert (other.in_flight, other.rate, other.circuit.failures, other.circuit.window) == (32, None, 10, 10)
    feed = config.destinations["feed"]
    assert feed.rate is not None
    assert feed.circuit is not None
    assert (feed.rate.burst_size, feed.circuit.open_s) == (1, 5)


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("per_second: 0.5", "per_second: 0", "3:44: expected a number above 0.0, found 0"),
        ("per_second: 10", "per_second: fast", "5:45: expected a number, found 'fast'"),
        ("burst", "burts", "5:49: unknown field 'burts'; did you mean 'burst'?"),
        ("in_flight: 4", "in_flight: 0", "5:22: expected a number of at least 1, found 0"),
        ("open: 1m", "open: 60", "5:100: expected a duration such as 500ms, 2s, 10m, 1h or 3d, found 60"),
        ("of: 20", "of: 4", "5:71: expected of to be at least failures, found 4 and 5"),
    ],
)
def test_a_mistake_is_told_with_its_place(old: str, new: str, mistake: str) -> None:
    assert old in BASE

    assert mistake in problems(BASE.replace(old, new, 1))


def test_bounds_of_a_provider_that_nobody_calls_are_a_warning_with_the_nearest_name() -> None:
    loaded = load(BASE, known=Known(providers={"bank", "acmee"}))

    assert [str(one) for one in loaded.warnings if "provider" in str(one)] == [
        "routing.yaml:6:3: no handler calls the provider 'acme'; did you mean 'acmee'?",
        "routing.yaml:7:3: no handler calls the provider 'other'; expected one of: acmee, bank",
    ]
