"""A server of Pub/Sub's protocol, and transports connected to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import pytest

from hub.clock import SystemClock
from hub.transports.pubsub import PubSubAddress, PubSubTransport
from hub.transports.pubsub.reach import WATCH_S
from tests.support.pubsub_server import PubSubServer
from tests.support.pubsub_server.server import serving

Connect: TypeAlias = Callable[..., PubSubTransport]


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PubSubServer]:
    async with serving() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        yield server


@pytest.fixture
async def connect(server: PubSubServer) -> AsyncIterator[Connect]:
    """Open a transport; options are those of the address. All are closed in the end."""
    opened: list[PubSubTransport] = []

    def connected(*, watch_s: float = WATCH_S, **options: Any) -> PubSubTransport:
        opened.append(PubSubTransport(PubSubAddress(project="shop", **options), SystemClock(), watch_s=watch_s))
        return opened[-1]

    yield connected
    for transport in opened:
        await transport.close()


@pytest.fixture
def transport(connect: Connect) -> PubSubTransport:
    return connect()
