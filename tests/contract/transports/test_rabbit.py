"""RabbitMQ keeps the contract, on a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from hub.store.store import Store
from hub.transports import Topology, Transport
from hub.transports.rabbit import RabbitTransport
from tests.contract.transports.suite import Open, Silence, TransportContract
from tests.support.databases import Databases
from tests.support.proxy import Proxy, proxied
from tests.support.rabbit import rabbit_address, raw_channel


class TestRabbitTransport(TransportContract):
    @pytest.fixture
    async def address(self) -> str:
        return await rabbit_address()

    @pytest.fixture
    async def proxy(self, address: str) -> AsyncIterator[Proxy]:
        url = URL(address)
        async with proxied(url.host or "", url.port or 5672) as proxy:
            yield proxy

    @pytest.fixture
    def silence(self, proxy: Proxy) -> Silence:
        @asynccontextmanager
        async def silent() -> AsyncIterator[None]:
            proxy.stall()
            yield
            proxy.resume()

        return silent

    @pytest.fixture
    async def store(self, databases: Databases) -> AsyncIterator[Store]:
        url = await databases.fresh("sqlite")
        store = Store.open(url, pool_size=2)
        yield store
        await store.close()
        await databases.drop(url)

    @pytest.fixture
    async def open(self, address: str, proxy: Proxy, store: Store) -> AsyncIterator[Open]:
        declared: set[tuple[str, str]] = set()
        url = str(URL(address).with_host("127.0.0.1").with_port(proxy.port))

        class Remembering(RabbitTransport):
            async def declare(self, topology: Topology, *, takes_away: bool = False) -> None:
                declared.update(("queue", queue.name) for queue in topology.queues)
                declared.update(("exchange", name) for name in topology.exchanges)
                await super().declare(topology, takes_away=takes_away)

        async def opened() -> Transport:
            return Remembering(url, store, prefetch=50)

        yield opened
        async with raw_channel(address) as channel:
            for kind, name in declared:
                await (channel.queue_delete(name) if kind == "queue" else channel.exchange_delete(name))
