"""A corner of a real RabbitMQ, behind a proxy that breaks connections."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from yarl import URL

from hub.store.store import Store
from tests.integration.transports.rabbit_parts import Rabbit
from tests.support.databases import Databases
from tests.support.proxy import proxied
from tests.support.rabbit import rabbit_address


@pytest.fixture
async def rabbit(databases: Databases) -> AsyncIterator[Rabbit]:
    address = await rabbit_address()
    database = await databases.fresh("sqlite")
    store = Store.open(database, pool_size=4)
    url = URL(address)
    async with proxied(url.host or "", url.port or 5672) as proxy:
        corner = Rabbit(address, store, proxy)
        yield corner
        proxy.resume()
        proxy.accept()
        await corner.close()
    await store.close()
    await databases.drop(database)
