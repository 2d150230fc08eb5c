"""What is told of deliveries can be read by whoever asks, whatever a handler said."""

from __future__ import annotations

from prometheus_client import REGISTRY, generate_latest

from hub.deliver.telling import _count_outcome


def test_half_a_character_in_an_outcome_leaves_the_figures_readable() -> None:
    _count_outcome("quote-a-sender", "found \ud83d")

    assert b'outcome="found ?",route="quote-a-sender"' in generate_latest(REGISTRY)
