"""Which messages may be sent now: the ready ones of unblocked chains, and the heads of chains that are due.

First the rows without their payloads, to decide; then the payloads of those that go out. A ready row of a blocked chain
is met once: it turns ``waiting`` and is read again from its chain's head, so a million of them cost nothing. A chain is
(destination, key). Source: docs/decisions/0003-chains-and-lanes.md.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import ColumnElement, FromClause, select

from hub.recent import Recent
from hub.routing.config import DestinationConfig
from hub.store import tables as t
from hub.store.alone import Source, dialect_of, read_from
from hub.store.direct import Direct
from hub.store.numbers import as_numbers
from hub.store.types import as_time
from hub.transports.base import OutboundMessage

DUE_CHAINS_MAX = 50
PER_CHAIN_MAX = 50
PER_LANE_MIN = 8
BATCH_BYTES_MAX = 16 * 1024 * 1024
"""Payloads of one batch in memory; a single larger message still goes, alone."""

_o, _b = t.outbox, t.outbox_blocked


# Not frozen, which would take several times as long to make: there is one for each message, and nobody changes it.
@dataclass(slots=True)
class Head:
    """An outbox row without its payload."""

    seq: int
    chain: int
    lane: int
    destination: str
    attempts: int
    size: int


@dataclass(slots=True)
class Picked:
    """What one round may send, in order, and what it met on the way.

    ``due``: blocked chains that are tried again. ``behind``: ready rows of blocked chains. ``stuck``: due chains whose
    head turned out to be parked. ``put_off``: heads of due chains whose destination takes nothing now, each with the
    seconds until the next look. ``held``: what would have gone, but for its destination's room. ``lanes``: where a
    further look at once may find something. ``has_found``: there was something, whatever becomes of it.
    """

    heads: list[Head] = field(default_factory=list)
    due: set[int] = field(default_factory=set)
    behind: list[Head] = field(default_factory=list)
    stuck: list[Head] = field(default_factory=list)
    put_off: list[tuple[Head, float]] = field(default_factory=list)
    held: list[Head] = field(default_factory=list)
    lanes: set[int] = field(default_factory=set)
    has_found: bool = False


@dataclass(slots=True)
class Rooms:
    """What destinations take at this moment, where that is less than they otherwise may; the others are not named."""

    _rooms: dict[str, int] = field(default_factory=dict)
    _looks_s: dict[str, float] = field(default_factory=dict)

    def put(self, name: str, room: int, look_s: float) -> None:
        """No more than ``room`` messages for this destination; look again in so many seconds."""
        self._rooms[name] = min(room, self._rooms.get(name, room))
        self._looks_s[name] = max(look_s, self._looks_s.get(name, look_s))

    @property
    def closed(self) -> tuple[str, ...]:
        """The destinations that take nothing."""
        return tuple(sorted(name for name, room in self._rooms.items() if room <= 0))

    def of(self, name: str, destination: DestinationConfig | None) -> int | None:
        """How many this destination takes in one round; None where it is not declared, and nothing is sent anyway."""
        if destination is None:
            return None
        return min(destination.max_in_flight, self._rooms.get(name, destination.max_in_flight))

    def is_bound(self, name: str) -> bool:
        """Whether it takes less than its bound in flight, so that a further round at once would find it as it is."""
        return name in self._rooms

    def look_s(self, name: str) -> float:
        """Seconds until it may take something again."""
        return self._looks_s[name]


async def pick(
    source: Source,
    lanes: Sequence[int],
    *,
    limit: int,
    now: datetime,
    destinations: Mapping[str, DestinationConfig],
    rooms: Rooms | None = None,
) -> Picked:
    """Read up to ``limit`` rows of these lanes, within the bounds of each destination. Writes nothing.

    One statement, as a rule. It need not be of one moment with those that follow where chains are due: what it says of
    a chain that is not blocked does not depend on them.

    Ready rows of destinations that are closed are not even read: many of them must not hide what stands behind them.
    """
    picked, rooms = Picked(), rooms or Rooms()
    dialect = dialect_of(source)
    # With many lanes a little of each: a lane that has more is named again, and the fewer remain, the more each gives.
    per_lane = min(limit, max(PER_LANE_MIN, 4 * limit // max(1, len(lanes))))
    closed = rooms.closed if dialect == "postgresql" else json.dumps(rooms.closed)
    most_due = min(DUE_CHAINS_MAX, limit)
    looked = (as_numbers(dialect, lanes), as_time(dialect, now), per_lane, limit, most_due, closed)
    ready: list[Head] = []
    chains: list[int] = []
    for seq, chain, lane, destination, attempts, size, kind in await read_from(source, _LOOK, *looked):
        if kind == _DUE:
            chains.append(chain)
        else:
            (picked.behind if kind == _BEHIND else ready).append(Head(seq, chain, lane, destination, attempts, size))
    due = open_only(await _due_heads(source, chains, limit, picked) if chains else [], rooms, picked)
    picked.heads, picked.held = within_bounds(in_equal_parts(due, ready, limit), limit, destinations, rooms)
    picked.has_found = bool(due or ready or picked.behind or picked.stuck or picked.put_off)
    left = {head.seq for head in picked.held}
    picked.lanes = _to_be_seen_again(picked, lanes, due=due, ready=ready, left=left, per_lane=per_lane, limit=limit)
    # A due chain of which nothing fits this time is left as it is, due; where its destination takes no more, put off.
    picked.due = {head.chain for head in due} & {head.chain for head in picked.heads}
    waiting = {head.chain: head for head in reversed(due) if head.seq in left and head.chain not in picked.due}
    picked.put_off += [(head, rooms.look_s(head.destination)) for head in waiting.values()]
    return picked


def _to_be_seen_again(
    picked: Picked,
    lanes: Sequence[int],
    *,
    due: Sequence[Head],
    ready: Sequence[Head],
    left: Collection[int],
    per_lane: int,
    limit: int,
) -> set[int]:
    """The lanes in which more may lie than goes in this round.

    What is committed later is told of. A chain that is tried again may have more to send; so may one that turned out to
    be blocked, should somebody let it go meanwhile. What is held back stays until its destination has room.
    """
    others = (*due, *picked.behind, *picked.stuck, *(head for head, _ in picked.put_off))
    again = {head.lane for head in others if head.seq not in left}
    found = Counter(head.lane for head in (*ready, *picked.behind))
    if found.total() >= limit:
        # What there is in the others was not read.
        again |= set(lanes) - found.keys()
    going = {head.seq for head in picked.heads}
    for head in ready:
        if head.seq not in left and (head.seq not in going or found[head.lane] >= per_lane or found.total() >= limit):
            again.add(head.lane)
    return again


def open_only(due: Sequence[Head], rooms: Rooms, picked: Picked) -> list[Head]:
    """The due rows whose destination takes something; of the others, the chains are put off."""
    closed = frozenset(rooms.closed)
    chains = {head.chain: head for head in reversed(due) if head.destination in closed}
    picked.put_off = [(head, rooms.look_s(head.destination)) for head in chains.values()]
    return [head for head in due if head.destination not in closed]


def in_equal_parts(due: Sequence[Head], new: Sequence[Head], limit: int) -> list[Head]:
    """All of them, but first half a round of what is tried again and half of what is new; of each chain in order."""
    again, fresh = (sorted(heads, key=lambda head: head.seq) for heads in (due, new))
    of_due = min(len(again), max(limit // 2, limit - len(fresh)))
    of_new = limit - of_due
    return [*again[:of_due], *fresh[:of_new], *again[of_due:], *fresh[of_new:]]


async def load_messages(
    source: Source,
    heads: Sequence[Head],
    destinations: Mapping[str, DestinationConfig],
    recent: Recent[OutboundMessage],
) -> dict[int, OutboundMessage]:
    """The messages of these rows, by their number, in order. A row whose destination is not declared has none."""
    found: dict[int, OutboundMessage | None] = {}
    for head in heads:
        if head.destination in destinations:
            found[head.seq] = _at_hand(head, destinations[head.destination].exchange_name, recent)
    missing = [seq for seq, message in found.items() if message is None]
    if missing:
        found |= await _read_messages(source, missing, destinations)
    return {seq: message for seq, message in found.items() if message is not None}


def _at_hand(head: Head, exchange: str, recent: Recent[OutboundMessage]) -> OutboundMessage | None:
    message = recent.take(head.seq)
    if message is None or message.exchange == exchange:
        return message
    # The wiring was loaded anew meanwhile.
    return replace(message, exchange=exchange)


async def _read_messages(
    source: Source, seqs: Sequence[int], destinations: Mapping[str, DestinationConfig]
) -> dict[int, OutboundMessage]:
    rows = await read_from(source, _MESSAGES, as_numbers(dialect_of(source), seqs))
    return {
        seq: OutboundMessage(
            message_id=message_id,
            exchange=destinations[destination].exchange_name,
            routing_key=routing_key,
            content_type=content_type,
            payload=payload,
            headers=json.loads(headers),
            key=key if key is not None else message_id,
        )
        for seq, message_id, destination, routing_key, key, content_type, payload, headers in rows
    }


_MESSAGES = Direct(
    postgresql="""\
SELECT seq, message_id, destination, routing_key, key, content_type, payload, headers::text
FROM outbox WHERE seq = ANY ($1::bigint[]) ORDER BY seq""",
    sqlite="""\
SELECT seq, message_id, destination, routing_key, "key", content_type, payload, headers
FROM outbox WHERE seq IN (SELECT value FROM json_each(?1)) ORDER BY seq""",
)


async def lanes_with_work(source: Source, lanes: Sequence[int], now: datetime) -> set[int]:
    """The lanes that have something to send: one look into an index per lane, however much lies there."""
    dialect = dialect_of(source)
    rows = await read_from(source, _LANES, as_numbers(dialect, lanes), as_time(dialect, now))
    return {lane for (lane,) in rows}


# Not EXISTS: PostgreSQL would turn that into one scan over everything that is ready.
_LANES = Direct(
    postgresql="""\
SELECT l.number FROM unnest($1::integer[]) AS l (number)
WHERE (SELECT seq FROM outbox WHERE lane = l.number AND state = 'ready' ORDER BY seq LIMIT 1) IS NOT NULL
   OR (SELECT chain FROM outbox_blocked WHERE lane = l.number AND next_at <= $2::timestamptz
       ORDER BY next_at LIMIT 1) IS NOT NULL""",
    sqlite="""\
SELECT l.value FROM json_each(?1) AS l
WHERE (SELECT seq FROM outbox WHERE lane = l.value AND state = 'ready' ORDER BY seq LIMIT 1) IS NOT NULL
   OR (SELECT chain FROM outbox_blocked WHERE lane = l.value AND next_at <= ?2
       ORDER BY next_at LIMIT 1) IS NOT NULL""",
)


async def _due_heads(source: Source, chains: Sequence[int], limit: int, picked: Picked) -> list[Head]:
    """The rows of due chains from their heads on: of many chains a few each, of few chains many.

    Behind a parked one nothing may go.
    """
    per_chain = min(PER_CHAIN_MAX, -(-limit // len(chains)))
    heads: list[Head] = []
    stopped: set[int] = set()
    for state, *row in await read_from(source, _FIRST_OF_CHAINS, as_numbers(dialect_of(source), chains), per_chain):
        head = Head(*row)
        if state == "parked" and head.chain not in stopped:
            stopped.add(head.chain)
            if all(one.chain != head.chain for one in heads):
                picked.stuck.append(head)
        elif head.chain not in stopped:
            heads.append(head)
    return heads


# The OFFSET keeps PostgreSQL's planner from making a join of it: that read the whole table once for each lane after an
# ANALYZE in a quiet hour (seen: 3 s with 300,000 rows of history, for 3 ms).
_FIRST_OF_CHAINS = Direct(
    postgresql="""\
SELECT o.state, o.seq, o.chain, o.lane, o.destination, o.attempts, length(o.payload)
FROM unnest($1::bigint[]) AS c (number)
JOIN LATERAL (
  SELECT own.seq FROM outbox AS own WHERE own.chain = c.number AND own.state IN ('waiting', 'parked')
  ORDER BY own.seq LIMIT $2::bigint) AS first ON true
JOIN LATERAL (SELECT * FROM outbox WHERE outbox.seq = first.seq OFFSET 0) AS o ON true
ORDER BY o.seq""",
    sqlite="""\
SELECT o.state, o.seq, o.chain, o.lane, o.destination, o.attempts, length(o.payload)
FROM json_each(?1) AS c
JOIN outbox AS o ON o.seq IN (
  SELECT own.seq FROM outbox AS own WHERE own.chain = c.value AND own.state IN ('waiting', 'parked')
  ORDER BY own.seq LIMIT ?2)
ORDER BY o.seq""",
)


_BEHIND, _DUE = 1, 2
"""What else a row of ``_LOOK`` is than a ready one that may go: a ready row of a blocked chain, or a due chain."""

# Ready rows lane by lane, in one ordered look into the index each, and beside them the due chains: there are none, as a
# rule. Of a row's chain one look by key, and never a scan of all that are blocked. The OFFSET is as above.
_LOOK = Direct(
    postgresql="""\
SELECT o.seq, o.chain, o.lane, o.destination, o.attempts, length(o.payload),
       CASE WHEN (SELECT b.chain FROM outbox_blocked AS b WHERE b.chain = o.chain) IS NULL THEN 0 ELSE 1 END
FROM (SELECT first.seq FROM unnest($1::integer[]) AS l (number) JOIN LATERAL (
        SELECT own.seq FROM outbox AS own
        WHERE own.lane = l.number AND own.state = 'ready' AND own.destination <> ALL ($6::text[])
        ORDER BY own.seq LIMIT $3::bigint) AS first ON true
      ORDER BY first.seq LIMIT $4::bigint) AS heads
JOIN LATERAL (SELECT * FROM outbox WHERE outbox.seq = heads.seq OFFSET 0) AS o ON true
UNION ALL
(SELECT NULL, b.chain, b.lane, NULL, NULL, NULL, 2 FROM outbox_blocked AS b
 WHERE b.lane = ANY ($1::integer[]) AND b.next_at <= $2::timestamptz ORDER BY b.next_at LIMIT $5::bigint)""",
    sqlite="""\
SELECT o.seq, o.chain, o.lane, o.destination, o.attempts, length(o.payload),
       CASE WHEN (SELECT b.chain FROM outbox_blocked AS b WHERE b.chain = o.chain) IS NULL THEN 0 ELSE 1 END
FROM (SELECT first.seq FROM json_each(?1) AS l JOIN outbox AS first ON first.seq IN (
        SELECT own.seq FROM outbox AS own
        WHERE own.lane = l.value AND own.state = 'ready' AND own.destination NOT IN (SELECT value FROM json_each(?6))
        ORDER BY own.seq LIMIT ?3)
      ORDER BY first.seq LIMIT ?4) AS heads
JOIN outbox AS o ON o.seq = heads.seq
UNION ALL
SELECT * FROM (
  SELECT NULL, b.chain, b.lane, NULL, NULL, NULL, 2 FROM outbox_blocked AS b
  WHERE b.lane IN (SELECT value FROM json_each(?1)) AND b.next_at <= ?2 ORDER BY b.next_at LIMIT ?5)""",
)


def within_bounds(
    heads: Iterable[Head], limit: int, destinations: Mapping[str, DestinationConfig], rooms: Rooms
) -> tuple[list[Head], list[Head]]:
    """The first that fit, so many in all, so many bytes, so many at each destination; and those that must stay.

    Both in order; those that stay are held back by their destination's flow, not by its bound in flight.
    """
    chosen: list[Head] = []
    held: list[Head] = []
    size = 0
    in_flight: Counter[str] = Counter()
    for head in heads:
        room = rooms.of(head.destination, destinations.get(head.destination))
        if room is not None and in_flight[head.destination] >= room:
            if rooms.is_bound(head.destination):
                held.append(head)
            continue
        if len(chosen) >= limit or (chosen and size + head.size > BATCH_BYTES_MAX):
            break
        in_flight[head.destination] += 1
        size += head.size
        chosen.append(head)
    return sorted(chosen, key=lambda head: head.seq), held


def is_blocked(outbox: FromClause = _o) -> ColumnElement[bool]:
    """Whether a row's chain is blocked: one look by key per row, and never a scan of all blocked chains."""
    of_row = select(_b.c.chain).where(_b.c.chain == outbox.c.chain)
    return of_row.correlate(outbox).scalar_subquery().is_not(None)
