"""The embedded broker keeps the contract, on both databases."""

from __future__ import annotations

import pytest

from hub.store.store import Store
from hub.transports import LocalTransport, Transport
from tests.contract.transports.suite import Open, TransportContract
from tests.support.clock import SettableClock


class TestLocalTransport(TransportContract):
    @pytest.fixture
    def open(self, store: Store, clock: SettableClock) -> Open:
        async def opened() -> Transport:
            return LocalTransport(store, clock)

        return opened
