"""Where a run takes place: two servers of its own, and two ``hub run`` that reach them through a proxy each."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from sqlalchemy.engine import make_url
from yarl import URL

from tests.support.broker_node import BrokerNode, broker_node
from tests.support.postgres_cluster import PostgresCluster, postgres_cluster
from tests.support.proxy import Proxy, proxied
from tests.support.running import PROJECT, environment

LEASE_S: Final = 6.0
HEARTBEAT_S: Final = 4
POOL_SIZE: Final = "6"
PORTS: Final = range(21_000, 29_000)
"""Below what the system hands out: nobody takes the port of a hub that is dead for a moment."""
BORN_S_MAX: Final = 180.0
STOPPED_S_MAX: Final = 90.0
COMMAND_S_MAX: Final = 900.0
ANSWER_S_MAX: Final = 2.0
LOOK_S: Final = 0.1
AGAIN_S: Final = 0.5
OFTEN: Final = ("poll-sepay-statement", "sweep-paypay")
"""Schedules that come every minute here: what they find has a minute's patience, not a quarter of an hour's."""
LOG_BYTES_TOLD: Final = 1_500


@dataclass
class Ends:
    """How hubs ended that nobody had told to."""

    by_themselves: list[str]
    unborn: int = 0
    """Those that gave up before they listened, because a server was away: whoever runs a hub starts it again."""


class Replica:
    """One ``hub run``: the same port and home in each of its lives."""

    def __init__(self, name: str, environ: Mapping[str, str], database: Proxy, broker: Proxy, ends: Ends) -> None:
        self.name = name
        self.environ = environ
        self.database = database
        self.broker = broker
        self.is_busy = False
        """Somebody is killing, stopping or healing it."""
        self._ends = ends
        self._log = Path(environ["HUB_HOME"]).parent / f"{name}.log"
        self._process: Process | None = None
        self._is_expected = False
        self._has_lived = False

    @property
    def port(self) -> int:
        return int(self.environ["HUB_PORT"])

    @property
    def url(self) -> str:
        """Where it listens while it lives."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it until it listens, again where a server was away. Raises AssertionError where it never does."""
        try:
            async with asyncio.timeout(BORN_S_MAX):
                while not await self._is_born():
                    # Nothing is broken yet when it starts for the first time.
                    assert self._has_lived, f"{self.name} does not start: {self._last_words()}"
                    self._ends.unborn += 1
                    await asyncio.sleep(AGAIN_S)
        except TimeoutError:
            raise AssertionError(f"{self.name} does not start: {self._last_words()}") from None
        self._has_lived, self._is_expected = True, False

    async def kill(self) -> None:
        """By SIGKILL, also one that is stopped or not born yet."""
        self._send(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    async def stop_in_order(self) -> None:
        """By SIGTERM, until it has ended."""
        self._send(signal.SIGTERM)
        assert self._process is not None
        async with asyncio.timeout(STOPPED_S_MAX):
            code = await self._process.wait()
        if code:
            self._ends.by_themselves.append(f"{self.name}, told to stop, ended with {code}: {self._last_words()}")

    def pause(self) -> None:
        if self.is_alive:
            assert self._process is not None
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self.is_alive:
            assert self._process is not None
            self._process.send_signal(signal.SIGCONT)

    def has_fallen(self) -> bool:
        """Whether it has ended by itself since it was last asked; it is noted down."""
        if self._process is None or self._process.returncode is None or self._is_expected:
            return False
        self._is_expected = True
        self._ends.by_themselves.append(f"{self.name} ended with {self._process.returncode}: {self._last_words()}")
        return True

    def _send(self, number: signal.Signals) -> None:
        self._is_expected = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _is_born(self) -> bool:
        self._is_expected = True
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hub", "run", "--log-level", "warning", "--log-json"),
                env=dict(self.environ),
                cwd=PROJECT,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_the_parent,
            )
        while self._process.returncode is None:
            if await answers(self.port):
                return True
            await asyncio.sleep(LOOK_S)
        return False

    def _last_words(self) -> str:
        return self._log.read_bytes()[-LOG_BYTES_TOLD:].decode("utf-8", "replace")


class Place:
    """Both servers and both hubs."""

    def __init__(
        self, database: str, node: BrokerNode, cluster: PostgresCluster, replicas: list[Replica], ends: Ends
    ) -> None:
        self.database = database
        self.node = node
        self.cluster = cluster
        self.replicas = replicas
        self.ends = ends

    @property
    def urls(self) -> list[str]:
        return [one.url for one in self.replicas]

    def heal(self) -> None:
        """Every line passes again."""
        for replica in self.replicas:
            for proxy in (replica.database, replica.broker):
                proxy.resume()
                proxy.accept()

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run a command of ``hub`` as an operator does, past the proxies: its exit code, and what it said."""
        environ = {**self.replicas[0].environ, "HUB_DATABASE_URL": self.database, "HUB_BROKER_URL": self.node.url}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hub", *arguments),
            env=environ,
            cwd=PROJECT,
            stdin=DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=die_with_the_parent,
        )
        async with asyncio.timeout(COMMAND_S_MAX):
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode("utf-8", "replace")


@asynccontextmanager
async def place_in(folder: Path, chance: Random, **more: str) -> AsyncIterator[Place]:
    """Both servers run; the hubs, which know ``more`` variables, have not been started."""
    (folder / "routing.yaml").write_text(rules())
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(broker_node())
        cluster = await stack.enter_async_context(postgres_cluster())
        database = await cluster.new_database()
        ends = Ends([])
        replicas = []
        for number in range(2):
            home = folder / f"hub{number}"
            home.mkdir()
            environ = {**more, "HUB_ROUTING": str(folder / "routing.yaml"), "HUB_PORT": str(_free_port(chance))}
            replica = await _replica(stack, f"hub{number}", home, database, node.url, environ, ends)
            stack.push_async_callback(replica.kill)
            replicas.append(replica)
        yield Place(database, node, cluster, replicas, ends)


async def _replica(
    stack: AsyncExitStack, name: str, home: Path, database: str, broker: str, more: Mapping[str, str], ends: Ends
) -> Replica:
    url, amqp = make_url(database), URL(broker)
    to_database = await stack.enter_async_context(proxied(url.host or "", url.port or 5432))
    to_broker = await stack.enter_async_context(proxied(amqp.host or "", amqp.port or 5672))
    address = url.set(host="127.0.0.1", port=to_database.port).render_as_string(hide_password=False)
    through = amqp.with_host("127.0.0.1").with_port(to_broker.port).update_query(heartbeat=HEARTBEAT_S)
    environ = environment(home, address) | {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "HUB_BROKER_URL": str(through),
        "HUB_LEASE_S": str(LEASE_S),
        "HUB_DATABASE_POOL_SIZE": POOL_SIZE,
        **more,
    }
    # Made with the project's own routing.yaml by ``environment``: both hubs believe the same played PayPal.
    assert (home / "sandbox/paypal/signer.pem").exists()
    return Replica(name, environ, to_database, to_broker, ends)


def rules() -> str:
    """The project's own rules, with some schedules that come oftener."""
    text = (PROJECT / "routing.yaml").read_text().replace("file: tests/", f"file: {PROJECT}/tests/")
    for name in OFTEN:
        text, found = re.subn(rf'(\n  {name}: {{ cron: )"[^"]*"', r'\1"* * * * *"', text)
        assert found == 1, name
    return text


async def answers(port: int) -> bool:
    """Whether a hub answers there; its port listens long before that."""
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
                return bool(await reader.read())
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def die_with_the_parent() -> None:
    """In a child, before it becomes another program: when the run is killed, no hub is left behind. Linux only."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _free_port(chance: Random) -> int:
    while True:
        port = chance.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
