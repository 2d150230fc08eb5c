"""RabbitMQ for tests: where it is, a virtual host of one's own, and ways to look at it past the hub."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import uuid4

import aiormq
import pytest
from yarl import URL

from hub.transports import Topology
from hub.transports.rabbit.objects import objects_of

RABBIT_VARIABLE = "HUB_TEST_RABBITMQ_URL"
RABBIT_USUAL = "amqp://guest:guest@127.0.0.1:5672/"
CONNECT_S_MAX = 60.0
CONTROL_S_MAX = 180.0


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


@contextmanager
def own_vhost() -> Iterator[str]:
    """The address of a new virtual host, which goes in the end. Skips the test where rabbitmqctl cannot make one."""
    url = URL(asyncio.run(rabbit_address()))
    name = f"hub_test_{uuid4().hex[:12]}"
    if not _control("add_vhost", name) or not _control(
        "set_permissions", "-p", name, url.user or "guest", ".*", ".*", ".*"
    ):
        pytest.skip("rabbitmqctl makes no virtual host here: it needs to run beside the broker, as root")
    try:
        yield str(url.with_path(f"/{name}"))
    finally:
        _control("delete_vhost", name)


def _control(*arguments: str) -> bool:
    program = shutil.which("rabbitmqctl")
    if program is None:
        return False
    done = subprocess.run([program, "--quiet", *arguments], capture_output=True, timeout=CONTROL_S_MAX, check=False)
    return done.returncode == 0


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


async def remove(address: str, topologies: Iterable[Topology], *, keep: frozenset[str] = frozenset()) -> None:
    """Take away everything that these topologies had declared."""
    async with raw_channel(address) as channel:
        for topology in topologies:
            objects = objects_of(topology)
            for queue in {one.name for one in objects.queues} | set(objects.foreign) - keep:
                if queue not in keep:
                    await channel.queue_delete(queue)
            for exchange in {one.name for one in objects.exchanges} - keep:
                await channel.exchange_delete(exchange)
