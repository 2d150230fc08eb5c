"""The judge of the till notices whatever became of a sale that must not."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.faults.books import reading
from tests.faults.selling import HEADERS, WEBHOOK_KEY, sale_to
from tests.faults.till_judge import Arrived, Evidence, judge_till
from tests.support.databases import Databases
from tests.support.running import RunningHub, environment, running
from tests.support.till import WEBHOOK, Names, routing_of

NUMBERS = 3

Falsify = Callable[[Evidence], Evidence]


def _queue(name: str, change: Callable[[list[Arrived]], list[Arrived]]) -> Falsify:
    return lambda true: replace(true, queues={**true.queues, name: change(list(true.queues[name]))})


FALSE: Mapping[str, tuple[Falsify, str]] = {
    "a message that never came": (_queue("sold", lambda all: all[1:]), "told to sold once: 1 missing"),
    "a message that nobody sent": (
        _queue("copies", lambda all: [*all, Arrived("x", b'{"id": "x"}')]),
        "told to copies once: 1 too many",
    ),
    "a message under two ids": (
        _queue("copies", lambda all: [*all, replace(all[0], message_id="again")]),
        "told to copies once: 1 too many",
    ),
    "two messages that changed places": (
        _queue("copies", lambda all: [all[1], all[0], *all[2:]]),
        "the order told to copies",
    ),
    "a repeat in other words": (
        _queue("copies", lambda all: [*all, replace(all[0], body=all[0].body + b" ")]),
        "a repeat in copies is the same message",
    ),
    "a wrong balance": (
        _queue(
            "sold", lambda all: [replace(all[0], body=all[0].body.replace(b'"balance":1', b'"balance":2')), *all[1:]]
        ),
        "balances are told right",
    ),
    "an accepted sale that is nowhere": (
        lambda true: replace(true, accepted=[*true.accepted, sale_to("a", NUMBERS)]),
        "in the inbox once: 1 missing",
    ),
    "another body in the inbox": (
        lambda true: replace(true, accepted=[replace(true.accepted[0], body=b"{}"), *true.accepted[1:]]),
        "in the inbox once",
    ),
    "answers that were not counted": (lambda true: replace(true, answers=100), "as many are counted as came"),
}
"""What is wrong with the evidence → how, and a part of what the judge says."""

TAMPERED = {
    "an entry that is gone": ("DELETE FROM entries WHERE reference = 'till:a-1'", "in the books once: 1 missing"),
    "a delivery left open": ("UPDATE deliveries SET state = 'ready' WHERE route_id = 1", "every delivery is done"),
    "two events that changed places": (
        "UPDATE inbox SET seq = CASE dedupe_id WHEN 'a-0' THEN 1002 ELSE 1001 END WHERE dedupe_id IN ('a-0', 'a-1')",
        "the order in the inbox",
    ),
}
"""What was done to the database → how, and a part of what the judge says."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run in which all went well."""

    database: str
    evidence: Evidence


@pytest.fixture
async def run(databases: Databases, tmp_path: Path) -> AsyncIterator[Run]:
    names = Names()
    (tmp_path / "routing.yaml").write_text(routing_of(names))
    address = await databases.fresh("sqlite")
    environ = environment(
        tmp_path, address, HUB_ROUTING=str(tmp_path / "routing.yaml"), HUB_SANDBOX="0", TILL_WEBHOOK_KEY=WEBHOOK_KEY
    )
    sales = [sale_to(key, number) for number in range(NUMBERS) for key in "ab"]
    async with running(environ) as hub:
        for sale in sales:
            assert (await hub.post(WEBHOOK, sale.body, **HEADERS))[0] == 200
        await hub.settled()
        queues = {"sold": await lying(hub, names.sold), "copies": await lying(hub, names.copies)}
    yield Run(address, Evidence(list(sales), len(sales), queues))
    await databases.drop(address)


async def lying(hub: RunningHub, queue: str) -> list[Arrived]:
    """What lies in a queue, customer by customer, so that neighbours belong together."""
    arrived = [Arrived(row.message_id, row.payload) for row in await hub.queue(queue)]
    return sorted(arrived, key=lambda one: b'"a"' not in one.body)


async def test_the_judge_believes_what_is_true_and_nothing_else(run: Run) -> None:
    async with reading(run.database) as books:
        assert await judge_till(books, run.evidence) == []
        for mistake, (falsify, words) in FALSE.items():
            found = await judge_till(books, falsify(run.evidence))
            assert any(words in violation for violation in found), f"{mistake}: {found}"


@pytest.mark.parametrize("deed", list(TAMPERED))
async def test_the_judge_notices_what_is_done_to_the_database(run: Run, deed: str) -> None:
    statement, words = TAMPERED[deed]
    with closing(sqlite3.connect(run.database.partition("///")[2], isolation_level=None)) as file:
        for (trigger,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f"DROP TRIGGER {trigger}")
        file.execute(statement)

    async with reading(run.database) as books:
        found = await judge_till(books, run.evidence)

    assert any(words in violation for violation in found), found
