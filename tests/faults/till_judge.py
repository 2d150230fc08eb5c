"""The judge of the till: whether every sale was kept, booked and told once and in order, whatever was broken meanwhile.

It reads the database with plain SQL and what lay in the broker's queues in the end, and imports nothing of the hub.
What holds of every hub is in ``judge.py``; here stands what this load proves.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeVar

from tests.faults.books import Books
from tests.faults.judge import FINISHED, FORBIDDEN, recomputed

SUBJECTS_MAX = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SaleSent:
    """The ``number``-th sale to a customer, as it was sent."""

    id: str
    key: str
    number: int
    amount: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Arrived:
    """One message that lay in a queue."""

    message_id: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the outside world knows: what it was told is accepted, and what lay in each destination's queue."""

    accepted: Sequence[SaleSent]
    answers: int
    queues: Mapping[str, Sequence[Arrived]]


async def left_to_do(books: Books, accepted: int) -> str:
    """What is not finished of so many accepted sales; empty when all is."""
    [[stored, open_, unsent]] = await books.rows(
        "SELECT (SELECT count(*) FROM inbox),"
        f" (SELECT count(*) FROM deliveries WHERE state NOT IN {FINISHED}),"
        " (SELECT count(*) FROM outbox WHERE state <> 'sent')"
    )
    if stored >= accepted and not open_ and not unsent:
        return ""
    return f"{accepted} accepted, {stored} stored, {open_} deliveries open, {unsent} messages not sent"


async def judge_till(books: Books, evidence: Evidence) -> list[str]:
    """Every violation in words; an empty list when all promises held."""
    found = [
        f"{rule}: {_some(' '.join(str(value) for value in row) for row in rows)}"
        for rule, query in FORBIDDEN.items()
        if (rows := await books.rows(query))
    ]
    found += await _kept(books, evidence)
    found += await _booked(books, evidence)
    found += await _told(books, evidence)
    return found + await recomputed(books)


async def _kept(books: Books, evidence: Evidence) -> list[str]:
    """Each accepted sale is in the inbox once, byte for byte, and nothing else; those of a customer in order."""
    rows = [(str(id_), bytes(payload)) for id_, payload in await books.rows("SELECT dedupe_id, payload FROM inbox")]
    wanted = [(sale.id, sale.body) for sale in evidence.accepted]
    found = _differences("in the inbox", Counter(wanted), Counter(rows), lambda one: one[0])
    stored = [str(row[0]) for row in await books.rows("SELECT dedupe_id FROM inbox ORDER BY seq")]
    found += _out_of_order("in the inbox", evidence, stored)
    [[received]] = await books.rows("SELECT coalesce(sum(received), 0) FROM received_totals")
    if int(received) < evidence.answers:
        found.append(f"as many are counted as came: {evidence.answers} answered, {received} counted")
    return found


async def _booked(books: Books, evidence: Evidence) -> list[str]:
    """Each sale is in the books once; those of a customer in order."""
    rows = await books.rows(
        "SELECT e.reference, m.amount FROM entries e JOIN moves m ON m.entry_id = e.id ORDER BY m.id"
    )
    booked = [(str(reference).removeprefix("till:"), int(amount)) for reference, amount in rows]
    wanted = Counter((sale.id, sale.amount) for sale in evidence.accepted)
    found = _differences("in the books", wanted, Counter(booked), lambda one: one[0])
    return found + _out_of_order("in the books", evidence, [id_ for id_, _ in booked])


async def _told(books: Books, evidence: Evidence) -> list[str]:
    """Each sale is told once or more, the first time in order, always in the same words, and as the outbox says."""
    found: list[str] = []
    for destination, arrived in evidence.queues.items():
        first = {one.message_id: one.body for one in reversed(arrived)}
        found += [
            f"a repeat in {destination} is the same message: {one.message_id}"
            for one in arrived
            if first[one.message_id] != one.body
        ][:SUBJECTS_MAX]
        bodies = [first[message_id] for message_id in dict.fromkeys(one.message_id for one in arrived)]
        ids = [str(json.loads(body)["id"]) for body in bodies]
        wanted = Counter(sale.id for sale in evidence.accepted)
        found += _differences(f"told to {destination}", wanted, Counter(ids), str)
        found += _out_of_order(f"told to {destination}", evidence, ids)
        stored = {
            (str(message_id), bytes(payload))
            for message_id, payload in await books.rows(
                f"SELECT message_id, payload FROM outbox WHERE destination = '{destination}'"
            )
        }
        if strange := {(one.message_id, one.body) for one in arrived} ^ stored:
            found.append(f"the outbox and {destination} hold the same: {_some(sorted(id_ for id_, _ in strange))}")
    return found + _balances(evidence)


def _balances(evidence: Evidence) -> list[str]:
    """The balance that was told with each sale is that after it and all before it."""
    after: dict[str, int] = {}
    for sales in _by_customer(evidence).values():
        sums = accumulate(sale.amount for sale in sales)
        after |= {sale.id: total for sale, total in zip(sales, sums, strict=True)}
    told = [json.loads(one.body) for one in evidence.queues["sold"]]
    wrong = [
        f"{one['id']}: expected {after.get(one['id'])}, found {one['balance']}"
        for one in told
        if one["balance"] != after.get(one["id"])
    ]
    return [f"balances are told right: {_some(wrong)}"] if wrong else []


def _by_customer(evidence: Evidence) -> dict[str, list[SaleSent]]:
    sales: defaultdict[str, list[SaleSent]] = defaultdict(list)
    for sale in sorted(evidence.accepted, key=lambda one: one.number):
        sales[sale.key].append(sale)
    return sales


def _out_of_order(where: str, evidence: Evidence, ids: Iterable[str]) -> list[str]:
    """Those of one customer are there in the order in which they were sent."""
    place = {sale.id: (sale.key, sale.number) for sale in evidence.accepted}
    last: dict[str, int] = {}
    wrong = []
    for id_ in ids:
        key, number = place.get(id_, ("", 0))
        if key and number < last.get(key, -1):
            wrong.append(f"{id_} behind number {last[key]}")
        last[key] = max(number, last.get(key, -1))
    return [f"the order {where} is that of the sender: {_some(wrong)}"] if wrong else []


def _differences(where: str, wanted: Counter[T], found: Counter[T], name: Callable[[T], str]) -> list[str]:
    """What is not exactly as often there as it should be."""
    missing, strange = wanted - found, found - wanted
    return [
        f"a sale is {where} once: {sum(those.values())} {what}: {_some(sorted(name(one) for one in those))}"
        for what, those in (("missing", missing), ("too many, or not as sent", strange))
        if those
    ]


def _some(subjects: Iterable[str]) -> str:
    every = list(subjects)
    first = "; ".join(every[:SUBJECTS_MAX])
    return first if len(every) <= SUBJECTS_MAX else f"{first}; and {len(every) - SUBJECTS_MAX} more"
