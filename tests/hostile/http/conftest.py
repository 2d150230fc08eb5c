"""A real HTTP server whose inbox the tests look into, and a whole hub with a shop."""

from __future__ import annotations

import pytest

from tests.integration.ingress.conftest import hub, kind_of_inbox, start
from tests.scenarios.conftest import bank, clock, shop

__all__ = ["bank", "clock", "hub", "kind_of_inbox", "shop", "start"]


@pytest.fixture(autouse=True)
def short_goodbyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a refused body is not read for long: nobody here sends it."""
    monkeypatch.setattr("hub.ingress.server.LINGER_S", 0.05)
