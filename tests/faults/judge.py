"""The judge: whether every promise held, told from the database and the queues alone.

It reads with plain SQL and imports nothing of the hub, so that no mistake of the hub can excuse itself here. Each rule
is a query for what must not be there, or a comparison with what the scenario sent and expects.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.books import Books, Row

FINISHED = "('done', 'discarded', 'refused')"
SUBJECTS_MAX = 5
"""How many offenders of one rule are named."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One message that must be in a queue: these very bytes, or JSON with these members."""

    routing_key: str
    payload: bytes | None = None
    members: Mapping[str, object] = field(default_factory=dict)

    def fits(self, routing_key: str, payload: bytes) -> bool:
        if routing_key != self.routing_key:
            return False
        if self.payload is not None:
            return payload == self.payload
        found = json.loads(payload)
        return all(name in found and found[name] == value for name, value in self.members.items())


@dataclass(frozen=True, slots=True)
class Expected:
    """How a scenario must end. Amounts are in minor units.

    ``queues``: per queue, groups of messages whose order must hold. ``entries``: references of journal entries.
    ``balances``: account code (an SQL pattern) to the sum of its balances. ``reviews``: outcomes for a person to see.
    """

    queues: Mapping[str, Sequence[Sequence[Wanted]]]
    entries: Sequence[str]
    balances: Mapping[str, int]
    reviews: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What the outside world knows: messages that were answered with 2xx, and how often each source was sent to."""

    accepted: Sequence[tuple[str, bytes]]
    sent: Mapping[str, int]
    answered: Mapping[str, int]


async def is_settled(books: Books, source_queues: Sequence[str]) -> bool:
    """Whether nothing is left to do: no message to read, no delivery to run, nothing to send, no timer to come."""
    names = ", ".join(f"'{name}'" for name in source_queues) or "''"
    [[left]] = await books.rows(
        f"SELECT (SELECT count(*) FROM deliveries WHERE state NOT IN {FINISHED})"
        " + (SELECT count(*) FROM outbox WHERE state <> 'sent')"
        " + (SELECT count(*) FROM timers)"
        f" + (SELECT count(*) FROM local_messages WHERE queue IN ({names}))"
    )
    return int(left) == 0


async def judge(
    books: Books, told: Told, expected: Expected | None, *, without: frozenset[str] = frozenset()
) -> list[str]:
    """Every violation in words; an empty list when all promises held.

    ``expected`` is None where somebody else tells how it must end; ``without`` are rules that do not hold there.
    """
    found: list[str] = []
    rules = {**FORBIDDEN, **EMBEDDED}
    assert without <= rules.keys()
    for rule, query in rules.items():
        if rule not in without and (rows := await books.rows(query)):
            found.append(f"{rule}: {_some(rows)}")
    found += await _accepted(books, told)
    found += await _counted(books, told)
    found += await _order(books)
    if expected is None:
        return found + await recomputed(books)
    return found + await _queues(books, expected) + await _ledger(books, expected)


FORBIDDEN: Mapping[str, str] = {
    "received = duplicates + conflicts + events": """
        SELECT s.source, r.n, coalesce(d.n, 0), coalesce(c.n, 0), coalesce(i.n, 0)
        FROM (SELECT source FROM received_totals UNION SELECT source FROM inbox UNION SELECT source FROM duplicates
              UNION SELECT source FROM conflicts) s
        LEFT JOIN (SELECT source, sum(received) AS n FROM received_totals GROUP BY source) r ON r.source = s.source
        LEFT JOIN (SELECT source, count(*) AS n FROM duplicates GROUP BY source) d ON d.source = s.source
        LEFT JOIN (SELECT source, count(*) AS n FROM conflicts GROUP BY source) c ON c.source = s.source
        LEFT JOIN (SELECT source, count(*) AS n FROM inbox GROUP BY source) i ON i.source = s.source
        WHERE coalesce(r.n, 0) <> coalesce(d.n, 0) + coalesce(c.n, 0) + coalesce(i.n, 0)""",
    "no message contradicts another": "SELECT source, event_id FROM conflicts",
    "an event is stored once": "SELECT id, count(*) FROM inbox GROUP BY id HAVING count(*) > 1",
    "an identity belongs to an event": """
        SELECT event_id FROM identities WHERE event_id NOT IN (SELECT id FROM inbox)""",
    "an event with an id holds its identity": """
        SELECT source, dedupe_id FROM inbox
        WHERE dedupe_id IS NOT NULL AND id NOT IN (SELECT event_id FROM identities)""",
    "an id is stored once per source": """
        SELECT source, dedupe_id, count(*) FROM inbox
        WHERE dedupe_id IS NOT NULL GROUP BY source, dedupe_id HAVING count(*) > 1""",
    "every matching route has its delivery": """
        SELECT i.id, i.type, i.matches, count(d.id) FROM inbox i LEFT JOIN deliveries d ON d.event_seq = i.seq
        GROUP BY i.id, i.type, i.matches HAVING i.matches <> count(d.id)""",
    "one delivery per event and route": """
        SELECT event_id, route_id, count(*) FROM deliveries GROUP BY event_id, route_id HAVING count(*) > 1""",
    "every delivery is done": f"""
        SELECT d.id, d.state, d.reason FROM deliveries d
        WHERE d.state NOT IN {FINISHED} OR d.state IN ('discarded', 'refused') OR d.finished_at IS NULL""",
    "no chain is blocked": "SELECT chain, state FROM blocked",
    "no barrier is left": "SELECT chain, delivery_id FROM barriers",
    "no timer is left": "SELECT type, due_at FROM timers",
    # A certificate that another delivery has brought meanwhile is not fetched again by the one that was cut off.
    "no call is open": """
        SELECT delivery_id, step FROM calls
        WHERE state IN ('started', 'pending', 'unknown') AND step <> 'certificate'""",
    "every message is sent": """
        SELECT seq, destination, state, reason FROM outbox WHERE state <> 'sent' OR sent_at IS NULL""",
    "no chain of messages is blocked": "SELECT chain, state FROM outbox_blocked",
    "a message is stored once": """
        SELECT message_id, destination, count(*) FROM outbox GROUP BY message_id, destination HAVING count(*) > 1""",
    "a message belongs to a delivery that is done": """
        SELECT o.seq, d.state FROM outbox o LEFT JOIN deliveries d ON d.id = o.delivery_id
        WHERE d.id IS NULL OR d.state <> 'done'""",
    "a reference is posted once": "SELECT reference, count(*) FROM entries GROUP BY reference HAVING count(*) > 1",
    "an entry belongs to a delivery that is done": """
        SELECT e.reference, d.state FROM entries e LEFT JOIN deliveries d ON d.id = e.delivery_id
        WHERE d.id IS NULL OR d.state <> 'done'""",
    "an entry has all its moves": """
        SELECT e.reference, e.move_count, count(m.id) FROM entries e LEFT JOIN moves m ON m.entry_id = e.id
        GROUP BY e.id, e.reference, e.move_count HAVING e.move_count <> count(m.id)""",
    "a move belongs to an entry": "SELECT id FROM moves WHERE entry_id NOT IN (SELECT id FROM entries)",
    "a move keeps its currency": """
        SELECT m.id FROM moves m LEFT JOIN accounts d ON d.id = m.debit_account
        LEFT JOIN accounts c ON c.id = m.credit_account
        WHERE d.id IS NULL OR c.id IS NULL OR d.currency <> m.currency OR c.currency <> m.currency OR m.amount <= 0""",
    "balances of a currency sum to zero": """
        SELECT a.currency, sum(CASE WHEN a.side = 'debit' THEN b.balance ELSE -b.balance END)
        FROM balances b JOIN accounts a ON a.id = b.account_id
        GROUP BY a.currency HAVING sum(CASE WHEN a.side = 'debit' THEN b.balance ELSE -b.balance END) <> 0""",
    "a review belongs to a delivery that is done": """
        SELECT r.delivery_id FROM reviews r LEFT JOIN deliveries d ON d.id = r.delivery_id
        WHERE d.id IS NULL OR d.state <> 'done'""",
}
"""Rule → a query that finds what breaks it, whatever the broker."""
EMBEDDED: Mapping[str, str] = {
    "a sent message is in a queue, byte for byte": """
        SELECT o.seq, o.destination, o.routing_key FROM outbox o WHERE o.state = 'sent' AND NOT EXISTS (
            SELECT 1 FROM local_messages m
            WHERE m.message_id = o.message_id AND m.payload = o.payload AND m.routing_key = o.routing_key)""",
    "a message in a queue was in the outbox": """
        SELECT m.queue, m.message_id FROM local_messages m
        WHERE NOT EXISTS (SELECT 1 FROM outbox o WHERE o.message_id = m.message_id)""",
    "a message is in a queue once": """
        SELECT queue, message_id, count(*) FROM local_messages GROUP BY queue, message_id HAVING count(*) > 1""",
}
"""The same for what lies in the embedded queues."""


async def _accepted(books: Books, told: Told) -> list[str]:
    """What was answered with 2xx is in the inbox, once, byte for byte. Repeats of one message are one message."""
    rows = await books.rows("SELECT source, payload FROM inbox")
    stored = Counter((str(source), bytes(payload)) for source, payload in rows)
    return [
        f"an accepted message is in the inbox once: {source} {body[:80]!r} is there {stored[source, body]} times"
        for source, body in dict.fromkeys((source, bytes(body)) for source, body in told.accepted)
        if stored[source, body] != 1
    ]


async def _counted(books: Books, told: Told) -> list[str]:
    """Everything answered was counted, and nothing was counted that was never sent."""
    rows = await books.rows("SELECT source, sum(received) FROM received_totals GROUP BY source")
    received = {str(source): int(number) for source, number in rows}
    return [
        f"as many are counted as came: {source}: {told.answered[source]} answered, {received.get(source, 0)} counted, "
        f"{told.sent[source]} sent"
        for source in told.sent
        if not told.answered[source] <= received.get(source, 0) <= told.sent[source]
    ]


async def _queues(books: Books, expected: Expected) -> list[str]:
    """Each expected message is there once, in its group's order, and nothing else is."""
    found: list[str] = []
    lying: defaultdict[str, list[tuple[str, bytes]]] = defaultdict(list)
    for queue, routing_key, payload in await books.rows(
        "SELECT queue, routing_key, payload FROM local_messages ORDER BY id"
    ):
        lying[queue].append((routing_key, bytes(payload)))
    for queue in sorted({*lying, *expected.queues}):
        groups = expected.queues.get(queue, ())
        wanted = [one for group in groups for one in group]
        places = [next((at for at, one in enumerate(wanted) if one.fits(*message)), None) for message in lying[queue]]
        found += [
            f"only what is expected is in {queue}: {lying[queue][at]!r}" for at, one in enumerate(places) if one is None
        ]
        times = Counter(places)
        found += [
            f"an expected message is in {queue} once: {one.routing_key} {dict(one.members)} is there {times[at]} times"
            for at, one in enumerate(wanted)
            if times[at] != 1
        ]
        found += _unordered(queue, groups, [place for place in places if place is not None])
    return found


def _unordered(queue: str, groups: Sequence[Sequence[Wanted]], places: Sequence[int]) -> Iterable[str]:
    begin = 0
    for group in groups:
        own = [place for place in places if begin <= place < begin + len(group)]
        begin += len(group)
        # Repeats may follow; what counts is when each was there for the first time.
        first = list(dict.fromkeys(own))
        if first != sorted(first):
            yield f"the order of {queue} holds: {[group[place - begin + len(group)].routing_key for place in first]}"


async def _order(books: Books) -> list[str]:
    """In each queue, the messages of one chain lie in the order in which they were stored."""
    rows = await books.rows(
        "SELECT m.queue, o.chain, o.seq FROM local_messages m JOIN outbox o ON o.message_id = m.message_id"
        " ORDER BY m.id"
    )
    chains: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for queue, chain, seq in rows:
        chains[queue, chain].append(seq)
    return [
        f"a chain keeps its order: {queue} has {numbers}"
        for (queue, _), numbers in chains.items()
        if list(dict.fromkeys(numbers)) != sorted(set(numbers))
    ]


async def _ledger(books: Books, expected: Expected) -> list[str]:
    found: list[str] = []
    entries = sorted(str(row[0]) for row in await books.rows("SELECT reference FROM entries"))
    if entries != sorted(expected.entries):
        found.append(f"the journal holds what happened: expected {sorted(expected.entries)}, found {entries}")
    for pattern, amount in expected.balances.items():
        [[balance]] = await books.rows(
            "SELECT sum(b.balance) FROM balances b JOIN accounts a ON a.id = b.account_id"
            f" WHERE a.code LIKE '{pattern}'"
        )
        if balance is None or int(balance) != amount:
            found.append(f"balances are right: {pattern}: expected {amount}, found {balance}")
    reviews = sorted(str(row[0]) for row in await books.rows("SELECT outcome FROM reviews WHERE state = 'open'"))
    if reviews != sorted(expected.reviews):
        found.append(f"a person sees what must be seen: expected {sorted(expected.reviews)}, found {reviews}")
    return found + await recomputed(books)


async def recomputed(books: Books) -> list[str]:
    """Every balance and running balance again, from the moves alone."""
    accounts = {
        int(id_): (str(code), str(side), bool(running), bool(negative))
        for id_, code, side, running, negative in await books.rows(
            "SELECT id, code, side, running, may_go_negative FROM accounts"
        )
    }
    sums: defaultdict[tuple[int, int], int] = defaultdict(int)
    found: list[str] = []

    def book(account: int, slot: int, delta: int, after: int | None) -> None:
        code, side, running, may_go_negative = accounts[account]
        sums[account, slot] += delta if side == "debit" else -delta
        total = sums[account, slot]
        if running and after != total:
            found.append(f"running balances are right: {code}: expected {total}, found {after}")
        if total < 0 and not may_go_negative:
            found.append(f"no account with a floor goes below zero: {code}: {total}")

    for debit, debit_slot, debit_after, credit, credit_slot, credit_after, amount in await books.rows(
        "SELECT debit_account, debit_slot, debit_after, credit_account, credit_slot, credit_after, amount"
        " FROM moves ORDER BY id"
    ):
        book(debit, debit_slot, amount, debit_after)
        book(credit, credit_slot, -amount, credit_after)
    stored = {
        (a, slot): int(balance)
        for a, slot, balance in await books.rows("SELECT account_id, slot, balance FROM balances")
    }
    return found + [
        f"a balance is the sum of its moves: {accounts[account][0]} slot {slot}: "
        f"expected {sums.get((account, slot), 0)}, found {stored.get((account, slot))}"
        for account, slot in sorted({*sums, *stored})
        if stored.get((account, slot), 0) != sums.get((account, slot), 0)
    ]


def _some(rows: Sequence[Row]) -> str:
    first = "; ".join(" ".join(str(value) for value in row) for row in rows[:SUBJECTS_MAX])
    return first if len(rows) <= SUBJECTS_MAX else f"{first}; and {len(rows) - SUBJECTS_MAX} more"
