"""RabbitMQ for tests: where it is, and how to look at it past the hub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiormq
import pytest

RABBIT_VARIABLE = "HUB_TEST_RABBITMQ_URL"
RABBIT_USUAL = "amqp://guest:guest@127.0.0.1:5672/"
CONNECT_S_MAX = 5.0


async def rabbit_address() -> str:
    """Where RabbitMQ answers. Skips the test where there is none and none was named."""
    named = os.environ.get(RABBIT_VARIABLE)
    try:
        async with asyncio.timeout(CONNECT_S_MAX), raw_channel(named or RABBIT_USUAL):
            return named or RABBIT_USUAL
    except (OSError, TimeoutError, aiormq.AMQPError):
        if named:
            raise
        pytest.skip(f"no RabbitMQ at {RABBIT_USUAL} and none named by {RABBIT_VARIABLE}")


@asynccontextmanager
async def raw_channel(address: str) -> AsyncIterator[aiormq.Channel]:
    """A channel of nobody's, to see and change what the broker has."""
    connection = await aiormq.connect(address)
    try:
        channel = await connection.channel(publisher_confirms=True)
        assert isinstance(channel, aiormq.Channel)
        yield channel
    finally:
        await connection.close()
