"""A bench per test."""

from __future__ import annotations

import pytest

from hub.store.store import Store
from tests.integration.outbox.bench import Bench
from tests.integration.outbox.broker import ScriptedBroker
from tests.support.clock import SettableClock


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


@pytest.fixture
def bench(store: Store, clock: SettableClock, broker: ScriptedBroker) -> Bench:
    return Bench(store, clock, broker)
