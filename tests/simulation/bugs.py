"""Bugs that are put into a hub on purpose, to see whether a run notices them; each has been seen in other systems."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any, Final
from unittest.mock import patch

from handlers.paypay.outcomes import Outcome, Unknown
from handlers.paypay.states import Sent, sent_of
from hub.transports import Confirmed
from hub.transports.local import LocalTransport
from tests.simulation.gate import Gate


@contextmanager
def a_broker_that_confirms_what_it_drops() -> Iterator[None]:
    """Every tenth publishing is confirmed and not done."""
    turns, publish = count(1), LocalTransport.publish

    async def lying(self: Any, messages: Any, **options: Any) -> Any:
        if next(turns) % 10:
            return await publish(self, messages, **options)
        return [Confirmed() for _ in messages]

    with patch.object(LocalTransport, "publish", lying):
        yield


@contextmanager
def a_commit_that_is_none() -> Iterator[None]:
    """Every fiftieth commit says that it was done, and what it stood for is gone."""
    turns, commit = count(1), Gate.commit

    def lying(self: Gate, connection: sqlite3.Connection, *, has_written: bool) -> None:
        if next(turns) % 50 == 0:
            sqlite3.Connection.rollback(connection)
        else:
            commit(self, connection, has_written=has_written)

    with patch.object(Gate, "commit", lying):
        yield


@contextmanager
def silence_taken_for_a_refusal() -> Iterator[None]:
    """An exchange of which nothing was heard is given up, and the points go back."""

    def hasty(outcome: Outcome) -> Sent:
        return Sent.REFUSED if isinstance(outcome, Unknown) else sent_of(outcome)

    with patch("handlers.paypay.progress.sent_of", hasty):
        yield


@contextmanager
def messages_sent_in_any_order() -> Iterator[None]:
    """What is published together is published backwards."""
    publish = LocalTransport.publish

    async def backwards(self: Any, messages: Any, **options: Any) -> Any:
        results = await publish(self, list(messages)[::-1], **options)
        return results[::-1]

    with patch.object(LocalTransport, "publish", backwards):
        yield


@contextmanager
def a_statement_that_nobody_reads() -> Iterator[None]:
    """What no webhook brought is never looked for."""

    async def nothing(_self: object, _window: object) -> list[Any]:
        return []

    with patch("handlers.sepay.polling.StatementApi.rows", nothing):
        yield


BUGS: Final[Mapping[str, tuple[Callable[[], AbstractContextManager[None]], tuple[str, ...]]]] = {
    "a broker that confirms what it drops": (
        a_broker_that_confirms_what_it_drops,
        ("a sent message is in its queue", "order per chain", "what was accepted is stored"),
    ),
    "a commit that is none": (a_commit_that_is_none, ("",)),
    "silence taken for a refusal": (silence_taken_for_a_refusal, ("no outcome is guessed", "an exchange ends")),
    "messages sent in any order": (messages_sent_in_any_order, ("order per chain", "a chain keeps its order")),
    "a statement that nobody reads": (a_statement_that_nobody_reads, ("what the bank has is in the books",)),
}
"""Name → how to put it in, and how the rules begin that must notice it ("": any)."""
