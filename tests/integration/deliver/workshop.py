"""What the tests of delivering share: routes in a line, messages without an acceptor, a journal of what ran."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import LANES, Event, lane_of
from hub.inbox.received import Accepted, Received
from hub.inbox.rows import store_drafts
from hub.store import tables as t
from hub.store.store import Store
from tests.support.parts import Parts
from tests.support.patience import until

ALL_LANES = range(LANES)


def route(name: str, handle: str | None, *, match: str = '"#"', retry: str = "", more: str = "") -> str:
    """One route. Retries follow at once unless ``retry`` says otherwise."""
    patience = retry or "attempts: 5, first: 1ms, longest: 4ms"
    does = f"handle: test.{handle}, " if handle is not None else ""
    return f"  - {{ name: {name}, match: {match}, {does}retry: {{ {patience} }}{', ' + more if more else ''} }}\n"


def routing(*routes: str, destinations: Sequence[str] = (), schedules: str = "") -> str:
    """The part of routing.yaml that follows the sources."""
    targets = "".join(f"  {name}: {{ queue: {name} }}\n" for name in destinations)
    return (f"destinations:\n{targets}" if targets else "") + "routes:\n" + "".join(routes) + schedules


def message(type_: str, body: Mapping[str, Any] | bytes, message_id: str = "", **received: Any) -> Received:
    """A message of the source ``shop``."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"source": "shop", "body": data, "routing_key": type_, "message_id": message_id}
    return Received(**{**given, **received})


async def give(parts: Parts, *messages: Received, lanes: Iterable[int] = ALL_LANES) -> list[UUID]:
    """Store these messages in one transaction, as an acceptor would; answers with the ids of their events.

    ``lanes`` are those that the worker is told of.
    """
    drafts = [parts.wiring.drafter.draft(one) for one in messages]

    async def work(conn: AsyncConnection) -> list[tuple[Accepted, Event]]:
        return await store_drafts(conn, drafts, route_ids=parts.rules.route_ids, now=parts.clock.now())

    answers = await parts.store.write(work)
    parts.to_deliver.add(lanes)
    return [accepted.event_id for accepted, _ in answers]


def keys_of_one_lane(count: int) -> list[str]:
    """Keys that are always in one batch together, in the order of their messages."""
    lane = lane_of("key-0")
    return list(islice((key for key in (f"key-{n}" for n in itertools.count()) if lane_of(key) == lane), count))


class Journal:
    """What handlers write down as they run; it survives their rollbacks. Failed attempts are ``tried`` only."""

    def __init__(self) -> None:
        self.tried: list[tuple[str, int]] = []
        self._done: dict[str, list[int]] = defaultdict(list)

    def done(self, key: str, number: int) -> None:
        self._done[key].append(number)

    def of(self, key: str) -> list[int]:
        """The numbers that ran to their end, in order."""
        return self._done[key]

    def last_of(self, key: str) -> list[int]:
        """The same with each number at its last run only: those before were rolled back with a process that died."""
        return list(dict.fromkeys(reversed(self._done[key])))[::-1]

    @property
    def keys(self) -> set[str]:
        return set(self._done)


async def nothing_is_blocked(parts: Parts) -> None:
    """Wait until the last chain has been found empty."""

    async def is_free() -> bool:
        return await parts.rows(t.blocked) == []

    await until(is_free, "every chain to be free")


def states(rows: Iterable[Any], *columns: str) -> list[Any]:
    """A column (or several) of rows."""
    names = columns or ("state",)
    return [getattr(row, names[0]) if len(names) == 1 else tuple(getattr(row, name) for name in names) for row in rows]


async def forget_everything(store: Store) -> None:
    """Empty the tables of delivering, for the next example of a property test."""

    async def work(conn: AsyncConnection) -> None:
        for table in (t.deliveries, t.inbox, t.blocked, t.barriers, t.attempts, t.identities, t.workers, t.leases):
            await conn.execute(delete(table))
        for table in (t.calls, t.timers, t.outbox, t.duplicates, t.conflicts, t.received_totals, t.tags, t.reviews):
            await conn.execute(delete(table))

    await store.write(work)
