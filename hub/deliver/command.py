"""Commands: an event that must be answered at once is accepted and delivered in one transaction, by the same code.

Row locks and unique references protect the money; a command does not wait for its chain, lanes only give order.
Source: docs/guarantees.md, G2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.batch import BatchResult, BatchRunner, FlushError
from hub.deliver.context import Surroundings
from hub.deliver.registry import Rules
from hub.deliver.settle import Settler
from hub.deliver.work import Work, fresh_work
from hub.errors import PermanentError, UsageError
from hub.event import Event
from hub.inbox.draft import Draft
from hub.inbox.rows import count_received, store_drafts

SLOTS: Final = 16
"""Commands run side by side, also in one process: they take turns at the rows of system accounts and counters."""
_turns = count()


@dataclass(frozen=True, slots=True)
class CommandDone:
    """A command that was carried out: what its handler returned, and what else it set going."""

    answer: object
    event: Event
    result: BatchResult


class RepeatedCommandError(UsageError):
    """This command was given before under the same id; its event is ``event_id``."""

    def __init__(self, event_id: object) -> None:
        super().__init__(f"this command was given before: event {event_id}")
        self.event_id = event_id


async def run_command(around: Surroundings, rules: Rules, draft: Draft) -> CommandDone:
    """Accept the event and run its deliveries, all or nothing.

    Raises what the handler raises (nothing is stored then), UsageError when no route takes the command,
    RepeatedCommandError for a repeat, StoreUnavailableError.
    """
    if not draft.matches:
        raise UsageError(f"no route takes the command {draft.event.type}")
    slot = next(_turns) % SLOTS
    runner, settler = BatchRunner(around, slot), Settler(around.clock, rules.routes_by_id)

    async def work(conn: AsyncConnection) -> CommandDone:
        now, route_ids = around.clock.now(), rules.route_ids
        [(accepted, event)] = await store_drafts(conn, [draft], route_ids=route_ids, now=now, counts=False)
        if accepted.kind != "event":
            raise RepeatedCommandError(accepted.event_id)
        works = _works(event, draft, rules)
        result = await runner.run(conn, works, rules)
        for error in result.raised.values():
            raise error
        await settler.settle(conn, result.attempts, set())
        # Last of all: every command counts in the same few rows, and its handler may wait for a wallet.
        await count_received(conn, [draft], slot)
        answers = [answer for answer in result.answers.values() if answer is not None]
        return CommandDone(answers[0] if answers else None, event, result)

    try:
        return await around.store.write(work)
    except FlushError as error:
        raise error.cause from error


def _works(event: Event, draft: Draft, rules: Rules) -> Sequence[Work]:
    """The deliveries that run here; those that call a provider stay ready for a worker."""
    works = []
    for match in draft.matches:
        if match.error is not None:
            raise PermanentError(match.error)
        route_id = rules.route_ids[match.route.name]
        spec = rules.handler_of(route_id)
        if spec is not None and spec.kind == "calls":
            continue
        works.append(fresh_work(event, route_id, unsure=False))
    return works
