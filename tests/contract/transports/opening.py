"""How the contract opens a transport: what a new one overrides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from hub.transports import QueueSpec, Topology, Transport
from tests.contract.transports.driving import Names

Open = Callable[[], Awaitable[Transport]]
Silence = Callable[[], AbstractAsyncContextManager[None]]
"""Makes the broker stay connected and say nothing while the block runs."""


class Opened:
    """The fixtures of all tests."""

    @pytest.fixture
    def open(self) -> Open:
        """Connect to the broker under test. Override; whoever opens also closes, at the latest when the test ends."""
        raise NotImplementedError

    @pytest.fixture
    def silence(self) -> Silence | None:
        """How the broker is silenced; None skips the tests that need it. Override where it can be done."""
        return None

    @pytest.fixture
    async def transport(self, open: Open) -> AsyncIterator[Transport]:
        opened = await open()
        yield opened
        await opened.close()

    @pytest.fixture
    def names(self) -> Names:
        return Names()

    def two_that_differ(self, names: Names) -> tuple[Topology, Topology]:
        """The queue ``orders``, twice and not alike. Override where a broker tells other things apart."""
        queue = names("orders")
        return Topology.of([QueueSpec(queue, single_consumer=True)], []), Topology.of([QueueSpec(queue)], [])
