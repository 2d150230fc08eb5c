"""What today's code would do in the place of what a finished delivery did: run again in a rehearsal, and compared.

The books are opened as if this delivery had not posted, so that its handler posts under the same references; nothing of
it is written. What a handler keeps in tables of its own still says that it is done: where it asks these first, it does
nothing, and everything recorded shows as *not made now*. Source: docs/replay.md.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.calls.naming import call_name
from hub.deliver.context import Surroundings
from hub.deliver.registry import Rules
from hub.deliver.work import Work
from hub.explain.model import Rehearsal
from hub.explain.rehearse import Part, Rehearser
from hub.ledger import Account, Book, PostedEntry
from hub.ledger.history import CORRECTION, load_entries
from hub.ledger.model import Move
from hub.ledger.tables import entries
from hub.money import Money
from hub.store import tables as t
from hub.store.sequences import Wanted, draw

CORRECTS: Final = "corrects"
"""Names, in the data of a correction, the reference that it corrects."""
ENTRIES_MAX: Final = 1_000

What = Literal["differs", "not made now", "new"]
Net = Mapping[Account, int]
"""By account, what its balance changes by in its own direction."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that today's code would do otherwise: an entry, message, call, event, outcome or error."""

    sort: Literal["entry", "message", "call", "event", "outcome", "error"]
    name: str
    what: What
    recorded: str
    now: str


@dataclass(frozen=True, slots=True)
class EntryChange:
    """An entry that today's code would post otherwise, and the moves that lead from the one to the other."""

    reference: str
    entry_id: int
    event_id: UUID
    delivery_id: int
    corrections: int
    moves: tuple[Move, ...]


@dataclass(slots=True)
class Comparison:
    """A finished delivery beside its rehearsal."""

    delivery_id: int
    rehearsal: Rehearsal
    differences: list[Difference] = field(default_factory=list)
    changes: list[EntryChange] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a delivery left behind; ``entries`` include those that corrected it."""

    entries: Sequence[PostedEntry]
    messages: Sequence[Row[Any]]
    outcome: str | None


class ReplayedBook(Book):
    """A book as if ``recorded`` had not been posted. It writes nothing."""

    def __init__(self, conn: AsyncConnection, *, recorded: Sequence[PostedEntry], **how: Any) -> None:
        super().__init__(conn, **how)
        self._recorded = {entry.reference for entry in recorded}
        self._taken_back = _net(recorded)
        self.posted: list[PostedEntry] = []

    async def _load(self, accounts: Sequence[Account], glance: Sequence[Account]) -> None:
        before = set(self._known)
        await super()._load(accounts, glance)
        for code in self._known.keys() - before:
            known = self._known[code]
            if known.balance is not None:
                known.balance -= self._taken_back.get(known.account, 0)

    async def find(self, reference: str) -> PostedEntry | None:
        """As ``Book.find``; what is taken as not posted is not found."""
        if reference in self._recorded and reference not in self._by_reference:
            return None
        return await super().find(reference)

    async def flush(self, *, also: Wanted | None = None) -> list[int]:
        """Keep what would be posted, for the comparison."""
        self.posted += self.pending
        self.undo_to(self.mark())
        self._pending.clear()
        self._by_reference.clear()
        self._old_balances.clear()
        self._flushes += 1
        return await draw(self._conn, *also) if also is not None and also.how_many else []


class Comparer(Rehearser):
    """Rehearses finished deliveries and compares; on one connection, whose transaction the caller rolls back."""

    def __init__(
        self, conn: AsyncConnection, around: Surroundings, rules: Rules, recorded: Mapping[int, Recorded]
    ) -> None:
        super().__init__(conn, around, rules)
        self._recorded = recorded
        self._books: dict[int, ReplayedBook] = {}

    def book_for(self, work: Work) -> Callable[..., Book]:
        """For a finished delivery, a book without what it posted."""
        recorded = self._recorded.get(work.id)
        if recorded is None:
            return Book
        return partial(ReplayedBook, recorded=recorded.entries)

    async def compare(self, parts: Sequence[Part]) -> tuple[list[Rehearsal], list[Comparison]]:
        """Rehearse these deliveries; the second list compares those that are finished with what they did."""
        rehearsals = await self.play(parts)
        compared = []
        for part, rehearsal in zip(parts, rehearsals, strict=True):
            recorded = self._recorded.get(part.work.id)
            if recorded is not None:
                compared.append(compare(part.work, recorded, rehearsal))
        return rehearsals, compared


async def recorded_of(conn: AsyncConnection, event_id: UUID, rows: Sequence[Row[Any]]) -> dict[int, Recorded]:
    """What each of these deliveries left behind, by their numbers."""
    query = select(entries).where(entries.c.event_id == event_id).order_by(entries.c.id).limit(ENTRIES_MAX)
    posted = await load_entries(conn, query)
    sent = select(t.outbox).where(t.outbox.c.delivery_id.in_([row.id for row in rows])).order_by(t.outbox.c.seq)
    messages = list(await conn.execute(sent))
    return {
        row.id: Recorded(
            [entry for entry in posted if entry.delivery_id == row.id],
            [one for one in messages if one.delivery_id == row.id],
            row.outcome,
        )
        for row in rows
    }


def compare(work: Work, recorded: Recorded, rehearsal: Rehearsal) -> Comparison:
    """Hold what was recorded against what a rehearsal did."""
    found = Comparison(work.id, rehearsal)
    if rehearsal.error is not None or rehearsal.play in ("failed", "deferred", "not_rehearsed"):
        why = rehearsal.error.text if rehearsal.error is not None else "; ".join(rehearsal.notes) or rehearsal.play
        found.differences.append(Difference("error", rehearsal.route, "differs", recorded.outcome or "", why))
        return found
    for call in rehearsal.calls:
        if not call.what.startswith("on record"):
            found.differences.append(Difference("call", call_name(call), "new", "", call.what))
    if rehearsal.play == "stopped_at_call":
        # What it would post and publish after the answer is not known.
        return found
    if rehearsal.outcome != recorded.outcome:
        was, now = recorded.outcome or "", rehearsal.outcome or ""
        found.differences.append(Difference("outcome", rehearsal.route, "differs", was, now))
    _compare_entries(work, recorded.entries, rehearsal.entries, found)
    found.differences += _message_differences(recorded.messages, rehearsal)
    found.differences += [
        Difference("event", one.event.type, "new", "", f"would be emitted as {one.status}")
        for one in rehearsal.emitted
        if one.status not in ("duplicate", "unreadable") and one.event.dedupe_id is not None
    ]
    return found


def _compare_entries(
    work: Work, recorded: Sequence[PostedEntry], posted: Sequence[PostedEntry], found: Comparison
) -> None:
    corrected: defaultdict[str, list[PostedEntry]] = defaultdict(list)
    for entry in recorded:
        if entry.kind == CORRECTION and entry.data is not None:
            corrected[str(entry.data.get(CORRECTS))].append(entry)
    mine = {entry.reference: entry for entry in recorded if entry.kind != CORRECTION}
    now = {entry.reference: entry for entry in posted}
    for reference in [*mine, *(name for name in now if name not in mine)]:
        was = _net([mine[reference], *corrected[reference]]) if reference in mine else {}
        becomes = _net([now[reference]]) if reference in now else {}
        if was == becomes:
            continue
        what: What = "new" if reference not in mine else "differs" if reference in now else "not made now"
        found.differences.append(Difference("entry", reference, what, _told(was), _told(becomes)))
        if what == "differs":
            old = mine[reference]
            moves = tuple(_moves_between(was, becomes))
            found.changes.append(
                EntryChange(reference, old.id, work.event.id, work.id, len(corrected[reference]), moves)
            )


def _message_differences(recorded: Sequence[Row[Any]], rehearsal: Rehearsal) -> Iterator[Difference]:
    was = {(row.message_id, row.destination): (row.routing_key, _sha256(row.payload)) for row in recorded}
    now = {(one.message_id, one.destination): (one.routing_key, _sha256(one.payload)) for one in rehearsal.messages}
    for name in [*was, *(one for one in now if one not in was)]:
        if was.get(name) != now.get(name):
            what: What = "new" if name not in was else "differs" if name in now else "not made now"
            before, after = (" ".join(one.get(name, ())) for one in (was, now))
            yield Difference("message", f"{name[0]} to {name[1]}", what, before, after)


def _sha256(payload: bytes) -> str:
    return f"sha256 {hashlib.sha256(payload).hexdigest()[:16]}"


def _net(posted: Sequence[PostedEntry]) -> dict[Account, int]:
    net: defaultdict[Account, int] = defaultdict(int)
    for entry in posted:
        for move in entry.moves:
            for account, side in ((move.debit, "debit"), (move.credit, "credit")):
                net[account] += move.amount.amount_minor if account.side == side else -move.amount.amount_minor
    return {account: change for account, change in net.items() if change}


def _moves_between(was: Net, becomes: Net) -> Iterator[Move]:
    """Moves that change the balances from the one to the other: each currency's debits against its credits."""
    debits: defaultdict[str, list[tuple[Account, int]]] = defaultdict(list)
    credits: defaultdict[str, list[tuple[Account, int]]] = defaultdict(list)
    for account in sorted(was.keys() | becomes.keys(), key=lambda one: one.code):
        change = becomes.get(account, 0) - was.get(account, 0)
        debit = change if account.side == "debit" else -change
        if debit:
            (debits if debit > 0 else credits)[account.currency].append((account, abs(debit)))
    for currency, owed in debits.items():
        giving = list(credits[currency])
        for account, amount in owed:
            left = amount
            while left:
                giver, available = giving.pop()
                taken = min(left, available)
                yield Move(debit=account, credit=giver, amount=Money(taken, currency))
                left -= taken
                if available > taken:
                    giving.append((giver, available - taken))


def _told(net: Net) -> str:
    parts = sorted(net.items(), key=lambda item: item[0].code)
    return ", ".join(f"{account.code} {Money(change, account.currency).format()}" for account, change in parts)
