"""Google Pub/Sub keeps the contract: against our own server of its protocol, and Google's emulator where there is one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hub.transports import Binding, QueueSpec, Topology, Transport
from hub.transports.pubsub import PubSubAddress, PubSubTransport
from tests.contract.transports.suite import Names, Open, TransportContract
from tests.support.clock import SettableClock
from tests.support.pubsub_server.server import serving


class TestPubSubTransport(TransportContract):
    @pytest.fixture
    async def open(self, clock: SettableClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
        async with serving() as server:
            monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)

            async def opened() -> Transport:
                return PubSubTransport(PubSubAddress(project="contract"), clock)

            yield opened

    def two_that_differ(self, names: Names) -> tuple[Topology, Topology]:
        """A subscription has one topic for life."""
        queue = QueueSpec(names("orders"))
        shop, market = (Binding(names(exchange), queue.name, "#") for exchange in ("shop", "market"))
        return Topology.of([queue], [shop]), Topology.of([queue], [market])
