"""Databases to crash on: one is set up per scenario and kind of database, and every run gets a copy of it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from uuid import uuid4

from hub.app import Hub
from hub.transports import OutboundMessage
from tests.faults.scenarios import JWT_SECRET, Scenario
from tests.support.copies import Copies
from tests.support.databases import Databases
from tests.support.running import environment
from tests.support.servers import address_of, new_name

POOL_SIZE = "5"
"""Few connections: opening them takes long, and more would not meet each other in other ways."""


class Stage:
    """Makes the copies of one prepared database. Every copy has a home of its own."""

    def __init__(self, scenario: Scenario, dialect: str, databases: Databases, folder: Path) -> None:
        self.scenario = scenario
        self.dialect = dialect
        self._databases = databases
        self._folder = folder
        self._template = ""
        self._copies: Copies | None = None
        self._next: asyncio.Task[str] | None = None
        self._used: list[str] = []
        self._clearing: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """A database that a hub has opened once, with the messages that wait in the scenario's queue."""
        self._template = await self._databases.fresh(self.dialect)
        hub = await Hub.open(self.environ(self._template, self._home()))
        messages = [
            OutboundMessage(
                message_id=one.message_id,
                exchange=self.scenario.exchange,
                routing_key=one.routing_key,
                content_type="application/json",
                payload=one.payload,
                headers={},
                key="all",
            )
            for one in self.scenario.queued
        ]
        await hub.transport.publish(messages)
        await hub.stop(1.0)

    async def copy(self) -> dict[str, str]:
        """The environment of a hub on a fresh copy. The next copy is made meanwhile."""
        address = await (self._next or self._make())
        self._next = asyncio.create_task(self._make())
        return self.environ(address, self._home())

    async def remove(self, environ: dict[str, str]) -> None:
        """The copy is no longer needed. It goes while others are in use: a server takes its time over that."""
        shutil.rmtree(environ["HUB_HOME"])
        self._used.append(environ["HUB_DATABASE_URL"])
        if self._clearing is None or self._clearing.done():
            self._clearing = asyncio.create_task(self._clear())

    async def close(self) -> None:
        """Remove everything that was made."""
        if self._next is not None:
            self._used.append(await self._next)
        if self._clearing is not None:
            await self._clearing
        await self._clear()
        if self._copies is not None:
            await self._copies.close()
        await self._databases.drop(self._template)

    async def _make(self) -> str:
        if self.dialect == "sqlite":
            file = self._folder / f"{new_name()}.db"
            shutil.copyfile(self._template.partition("///")[2], file)
            return f"sqlite+aiosqlite:///{file}"
        self._copies = self._copies or Copies(self._template.rpartition("/")[2])
        return address_of(await self._copies.take())

    async def _clear(self) -> None:
        while self._used:
            used = self._used.pop()
            if self._copies is not None:
                await self._copies.give_back(used.rpartition("/")[2])
            else:
                await self._databases.drop(used)

    def environ(self, address: str, home: Path) -> dict[str, str]:
        return environment(home, address, HUB_JWT_SECRET=JWT_SECRET, HUB_DATABASE_POOL_SIZE=POOL_SIZE)

    def _home(self) -> Path:
        home = self._folder / f"home_{uuid4().hex[:12]}"
        home.mkdir()
        return home
