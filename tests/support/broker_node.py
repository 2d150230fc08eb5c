"""A RabbitMQ node of a test's own, to be stopped, killed and started again without disturbing anybody else.

It runs as whoever runs the tests, from a folder of its own, and shares nothing with a broker of this machine but the
programs and Erlang's port mapper.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import aiormq
import pytest

from tests.support.processes import command, free_port
from tests.support.rabbit import raw_channel

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
"""Where the packages of Debian and of RabbitMQ put the scripts that do not insist on a certain user."""
START_S_MAX = 180.0
ANSWER_LOOK_S = 0.1


class BrokerNode:
    """One node. It answers after ``start`` and whatever starts it again; ``url`` stays the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: Process | None = None
        self._environ = self._prepare(f"hubfaults{uuid4().hex[:8]}@localhost")
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}/"

    async def start(self) -> None:
        """Start the whole node."""
        self._process = await asyncio.create_subprocess_exec(
            str(PROGRAMS / "rabbitmq-server"),
            env=self._environ,
            cwd=self._folder,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,
        )
        await self._answers()

    async def restart(self) -> None:
        """Stop and start the broker in the node that goes on running, as an upgrade of a plugin does."""
        await self._control("stop_app")
        await self._control("start_app")
        await self._answers()

    async def crash(self) -> None:
        """Kill the node at once, and start it on what is left."""
        await self.kill()
        await self.start()

    async def close_all_connections(self) -> None:
        """Let the broker hang up on everybody, as an operator may."""
        await self._control("close_all_connections", "closed by an operator")

    async def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    async def _control(self, *arguments: str) -> None:
        await command(str(PROGRAMS / "rabbitmqctl"), "--quiet", *arguments, env=self._environ)

    async def _answers(self) -> None:
        assert self._process is not None
        async with asyncio.timeout(START_S_MAX):
            while True:
                assert self._process.returncode is None, "the node has ended; its log is in its folder"
                with suppress(OSError, TimeoutError, aiormq.AMQPError):
                    async with raw_channel(self.url):
                        return
                await asyncio.sleep(ANSWER_LOOK_S)

    def _prepare(self, name: str) -> dict[str, str]:
        folder = self._folder
        cookie = folder / ".erlang.cookie"
        cookie.write_text(uuid4().hex)
        cookie.chmod(0o400)
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.local = 127.0.0.1:{self._port}\n")
        (folder / "plugins").write_text("[].\n")
        (folder / "none.conf").touch()
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }


@asynccontextmanager
async def broker_node() -> AsyncIterator[BrokerNode]:
    """A node that answers. Skips the test where RabbitMQ's programs are not installed."""
    if not (PROGRAMS / "rabbitmq-server").exists() or shutil.which("erl") is None:
        pytest.skip(f"no RabbitMQ in {PROGRAMS} to start a node of our own from")
    # A short path: the node puts sockets there.
    with tempfile.TemporaryDirectory(prefix="hub-node-", ignore_cleanup_errors=True) as folder:
        node = BrokerNode(Path(folder))
        try:
            await node.start()
            yield node
        finally:
            await node.kill()
