"""What a capability's HTTP handlers, commands of the CLI and sandboxes get of the hub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.deliver.command import CommandDone, run_command
from hub.deliver.publishing import encode
from hub.deliver.telling import tell_commands
from hub.event import Event
from hub.flow.priority import Priority
from hub.flow.turn import Turn
from hub.inbox.drafting import COMMAND
from hub.inbox.received import Accepted, Received
from hub.inbox.rows import store_drafts
from hub.ingress.authentication import Decision, Request
from hub.ingress.tokens import Client, Role, User
from hub.ownership.announcing import announce
from hub.ownership.holding import DELIVER, RELAY
from hub.settings import Settings
from hub.store.session import open_session
from hub.store.store import Store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from hub.app import Hub


class HubApi:
    """The hub as seen by its capabilities."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @property
    def settings(self) -> Settings:
        return self._hub.settings

    @property
    def clock(self) -> Clock:
        return self._hub.clock

    @property
    def store(self) -> Store:
        return self._hub.store

    def settings_of(self, capability: str) -> Any:
        """The settings object of a capability, as it read it at start."""
        return self._hub.settings_of(capability)

    async def command(
        self,
        type: str,
        payload: BaseModel,
        *,
        key: str | None,
        dedupe_id: str | None = None,
    ) -> object:
        """Accept a command and run it at once; the answer is what its handler returned.

        ``dedupe_id`` recognises a repeat among the commands of this type, for ever.

        Raises RefusedCommand and whatever else the handler raises: nothing is stored then. UsageError when no route
        takes it, RepeatedCommandError for a repeat of ``dedupe_id``, StoreUnavailableError.
        """
        draft = self._hub.wiring.drafter.internal(type, encode(payload), source=COMMAND, key=key, dedupe_id=dedupe_id)
        done = await run_command(self._hub.around, self._hub.rules, draft)
        self._hub.to_deliver.add({event.lane for event in (done.event, *done.result.emitted)})
        self._hub.to_publish.add(done.result.published)
        if self.store.dialect == "postgresql" and not self._hub.wakeups.is_started:
            await self.store.write(partial(_tell, done))
        tell_commands(done.result.attempts, self._hub.rules)
        return done.answer

    async def accept(self, received: Sequence[Received]) -> list[Accepted]:
        """Messages of declared sources that came another way, all in one transaction; answers in the given order.

        Raises UsageError for a source that is not declared, StoreUnavailableError.
        """
        drafts = [self._hub.wiring.drafter.draft(one) for one in received]
        route_ids = self._hub.rules.route_ids

        async def work(conn: AsyncConnection) -> list[tuple[Accepted, Event]]:
            answers = await store_drafts(conn, drafts, route_ids=route_ids, now=self.clock.now())
            if not self._hub.wakeups.is_started:
                await announce(conn, DELIVER, [event.lane for answer, event in answers if answer.kind == "event"])
            return answers

        stored = await self._hub.store.write(work) if drafts else []
        self._hub.to_deliver.add({event.lane for _, event in stored})
        return [accepted for accepted, _ in stored]

    def prove(self, source: str, request: Request) -> Decision:
        """How the sender of a request is proven, by the scheme of a source's webhook."""
        return self._hub.table.scheme_of(source).decide(request, self.clock.now())

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A read-only look at the tables, at one moment."""
        async with self._hub.store.reading() as conn, open_session(conn) as session:
            yield session

    @asynccontextmanager
    async def turn(self, provider: str, priority: Priority = Priority.READ) -> AsyncIterator[Turn]:
        """The turn to call a provider while somebody waits for the answer; tell ``turn.saw`` how the call ended.

        Under the bounds, pauses and circuit that handlers have, which are one for all. Nothing is put on record: not
        for what moves money. Raises BusyError when the provider stands still or has no room, StoreUnavailableError.
        """
        flow = self._hub.around.flow
        async with self._hub.store.reading() as conn:
            # This process may have no worker, who looks regularly.
            await flow.look(conn)
        async with flow.provider(provider).turn(priority) as turn:
            yield turn

    def user(self, request: web.Request) -> User:
        """The end user whose token came with the request. Raises RefusedError (401)."""
        return self._hub.doorman.user(request, self._hub.clock.now())

    def holder(self, request: web.Request, role: Role) -> Client:
        """The holder of the API key that came with the request, if its role includes ``role``.

        Raises RefusedError (401, 403).
        """
        return self._hub.doorman.require(request, role)


async def _tell(done: CommandDone, conn: AsyncConnection) -> None:
    """What a command of the CLI has set going, to those who run."""
    await announce(conn, DELIVER, [event.lane for event in (done.event, *done.result.emitted)])
    await announce(conn, RELAY, done.result.published)
