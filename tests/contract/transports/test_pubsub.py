"""Google Pub/Sub keeps the contract: on our own server of its protocol, and on Google's emulator where it is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from hub.transports import Binding, QueueSpec, Topology, Transport
from hub.transports.pubsub import PubSubAddress, PubSubTransport
from tests.contract.transports.driving import Names
from tests.contract.transports.suite import Open, Silence, TransportContract
from tests.support.clock import SettableClock
from tests.support.pubsub_emulator import emulator, reason_to_skip
from tests.support.pubsub_server import PubSubServer
from tests.support.pubsub_server.server import serving


class PubSubContract(TransportContract):
    """What both have in common: how the address is made, and what cannot be changed on a subscription."""

    exactly_once = False

    @pytest.fixture
    async def server(self) -> AsyncIterator[PubSubServer]:
        async with serving() as server:
            yield server

    @pytest.fixture
    def broker(self, server: PubSubServer) -> str:
        return server.address

    @pytest.fixture
    def silence(self, server: PubSubServer) -> Silence | None:
        @asynccontextmanager
        async def silent() -> AsyncIterator[None]:
            server.faults.delay_s = 60.0
            yield
            server.faults.clear()

        return silent

    @pytest.fixture
    def open(self, broker: str, clock: SettableClock, monkeypatch: pytest.MonkeyPatch) -> Open:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker)

        async def opened() -> Transport:
            return PubSubTransport(PubSubAddress(project="contract", exactly_once=self.exactly_once), clock)

        return opened

    def two_that_differ(self, names: Names) -> tuple[Topology, Topology]:
        """A subscription has one topic for life."""
        queue = QueueSpec(names("orders"))
        shop, market = (Binding(names(exchange), queue.name, "#") for exchange in ("shop", "market"))
        return Topology.of([queue], [shop]), Topology.of([queue], [market])


class TestPubSub(PubSubContract):
    pass


class TestPubSubExactlyOnce(PubSubContract):
    exactly_once = True


@pytest.fixture(scope="session")
def google_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One emulator for all tests; each test has names of its own."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with emulator(tmp_path_factory.mktemp("emulator") / f"{uuid4().hex}.log") as address:
        yield address


class TestPubSubOnGooglesEmulator(PubSubContract):
    @pytest.fixture
    def broker(self, google_emulator: str) -> str:
        return google_emulator

    @pytest.fixture
    def silence(self) -> Silence | None:
        return None
