"""What becomes of a delivery after an attempt, written in the same transaction as its effects.

done, refused, discarded   finished; its chain goes on
retrying                   the head of its chain, until its back-off is over
deferred                   NotYet: out of its chain, until its own time
parked                     for a person; its chain waits, unless the route says ``on_park: continue``
calling                    its handler runs as a task of its own; its chain waits
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, assert_never

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.deliver.barriers import lift
from hub.deliver.blocking import Block, Waits, block_chains, hold_chains, release_chains
from hub.deliver.work import Calling, Deferred, Discarded, Done, Ending, Failed, Refused, Work
from hub.event import chain_of
from hub.routing.router import CompiledRoute
from hub.store import tables as t
from hub.store.bulk import BulkUpdate, Record

REASON_CHARS_MAX = 2_000
DEFER_S_MIN = 1.0
WAIT_S_MAX = 86_400.0
"""The longest that a handler may ask to be left alone before its next attempt."""


# Not frozen, which would take several times as long to make: there is one for each delivery, and nobody changes it.
@dataclass(slots=True)
class Attempt:
    """One attempt that came to an end."""

    work: Work
    ending: Ending
    started_at: datetime
    duration_ms: float


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What becomes of a delivery after an attempt: its next state, and when it is tried again where it is."""

    state: str
    outcome: str | None
    reason: str | None
    next_at: datetime | None


class Settler:
    """Writes endings. Holds the rules of retrying; knows nothing of handlers."""

    def __init__(self, clock: Clock, routes_by_id: Mapping[int, CompiledRoute]) -> None:
        self._clock = clock
        self._routes = routes_by_id

    async def settle(
        self, conn: AsyncConnection, attempts: Sequence[Attempt], drained: set[int], waits: Waits | None = None
    ) -> None:
        """Write how these attempts ended, and what waits meanwhile.

        ``drained`` are due chains that go on where nothing blocked them again. Chains are locked last, in one order,
        here and in the transactions that end calls: after the accounts of the handlers.
        """
        waits = waits or Waits()
        rows: list[dict[str, Any]] = []
        blocks: list[Block] = []
        freed: list[int] = []
        now = self._clock.now()
        for attempt in attempts:
            row, block = self._after(attempt, now)
            rows.append(row)
            if block is not None:
                blocks.append(block)
            elif attempt.work.barrier:
                # Finished, or out of its chain: it holds nobody back any more.
                freed.append(attempt.work.id)
        await self._write(conn, rows)
        await self._write_failures(conn, attempts)
        await lift(conn, freed)
        # Where a delivery has just failed and another one of its chain stands before a barrier, the back-off counts:
        # the barrier's look is soon, and would use up the attempts of the one that failed.
        failed = {block.chain for block in blocks}
        blocks += [block for block in waits.blocks if block.chain not in failed]
        freed_chains = drained - {block.chain for block in blocks}
        if freed_chains and (blocks or waits.behind):
            waiting = {block.chain for block in blocks} | {one.chain for one in waits.behind}
            await hold_chains(conn, freed_chains | waiting)
        await block_chains(conn, blocks, behind=waits.behind)
        await release_chains(conn, freed_chains, now=now)

    def foresee(self, attempt: Attempt) -> Foreseen:
        """What ``settle`` would write, without writing it."""
        row, _ = self._after(attempt, self._clock.now())
        return Foreseen(row["state"], row["outcome"], row["reason"], row["next_at"])

    def _after(self, attempt: Attempt, now: datetime) -> tuple[dict[str, Any], Block | None]:
        work = attempt.work
        row: dict[str, Any] = {
            "id": work.id,
            "chain": work.chain,
            "attempts": work.attempts + 1,
            "next_at": None,
            "outcome": None,
            "reason": None,
            "finished_at": None,
        }
        match attempt.ending:
            case Done(outcome):
                return row | {"state": "done", "outcome": _storable(outcome), "finished_at": now}, None
            case Discarded(outcome):
                return row | {"state": "discarded", "outcome": outcome, "finished_at": now}, None
            case Refused(outcome, reason):
                ended = {"outcome": _storable(outcome), "reason": _storable(reason), "finished_at": now}
                return row | {"state": "refused"} | ended, None
            case Calling():
                # The attempt is counted before the call, so that one which kills the process is parked in the end.
                return row | {"state": "calling"}, self._block(work, "calling", None)
            case Deferred() as deferred:
                return self._defer(work, deferred, row, now)
            case Failed() as failed:
                return self._retry_or_park(work, failed, row, now)
        assert_never(attempt.ending)

    def _retry_or_park(
        self, work: Work, failed: Failed, row: dict[str, Any], now: datetime
    ) -> tuple[dict[str, Any], Block | None]:
        route = self._routes.get(work.route_id)
        used = work.attempts + (1 if failed.counts else 0)
        row |= {"attempts": used, "reason": _storable(failed.error)}
        if failed.permanent or route is None or (failed.counts and used >= route.attempts):
            return self._park(work, row, continues=route is not None and route.on_park == "continue")
        waited_s = (now - work.event.received_at).total_seconds()
        if failed.within_s is not None and waited_s >= failed.within_s:
            row["reason"] = _storable(f"waited {waited_s:.0f} s in vain: {failed.error}")
            return self._park(work, row, continues=route.on_park == "continue")
        wait_s = _bounded(failed.retry_s) if failed.retry_s is not None else self._backoff_s(route, used)
        next_at = now + timedelta(seconds=wait_s)
        row |= {"state": "retrying", "next_at": next_at}
        return row, self._block(work, "backoff", next_at)

    def _park(self, work: Work, row: dict[str, Any], *, continues: bool) -> tuple[dict[str, Any], Block | None]:
        if continues:
            # It leaves its chain for one of its own, so that those behind it need not wait for a person.
            return row | {"state": "parked", "chain": _own_chain(work)}, None
        return row | {"state": "parked"}, self._block(work, "parked", None)

    def _defer(
        self, work: Work, deferred: Deferred, row: dict[str, Any], now: datetime
    ) -> tuple[dict[str, Any], Block | None]:
        row |= {"attempts": work.attempts, "reason": _storable(deferred.reason)}
        waited_s = (now - work.event.received_at).total_seconds()
        if waited_s >= deferred.within_s:
            in_vain = _storable(f"waited {waited_s:.0f} s in vain: {deferred.reason}")
            if deferred.on_deadline != "park":
                ended = {"outcome": _storable(deferred.on_deadline), "reason": in_vain, "finished_at": now}
                return row | {"state": "refused" if deferred.refuses else "done"} | ended, None
            row["reason"] = in_vain
            return self._park(work, row, continues=True)
        route = self._routes.get(work.route_id)
        longest_s = route.longest_s if route is not None else DEFER_S_MIN
        # The longer it has waited, the rarer the look; no attempt is used up.
        wait_s = min(max(DEFER_S_MIN, waited_s / 4), longest_s, max(DEFER_S_MIN, deferred.within_s - waited_s))
        return row | {
            "state": "deferred",
            "next_at": now + timedelta(seconds=wait_s),
            "chain": _own_chain(work),
        }, None

    def _backoff_s(self, route: CompiledRoute, used: int) -> float:
        """Exponential, capped, spread by chance so that a crowd does not come back at once."""
        doublings = min(max(used - 1, 0), 62)
        return min(route.longest_s, route.first_s * float(2**doublings)) * self._clock.jitter()

    def _block(self, work: Work, state: Any, next_at: datetime | None) -> Block | None:
        return Block(work.chain, work.lane, work.id, state, next_at)

    async def _write(self, conn: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
        # Nearly all have ended alike, in their first attempt: then a row is its number.
        finished: defaultdict[Record, list[Record]] = defaultdict(list)
        others: list[Record] = []
        for row in rows:
            if row["finished_at"] is None:
                others.append(_IN_ORDER(row))
            else:
                finished[_ENDING_OF(row)].append((row["id"],))
        # By primary key alone: a condition on the state would tempt the planner into the index of the backlog.
        written = await _UPDATE_DELIVERIES.run(conn, others) if others else 0
        for ending, ids in finished.items():
            written += await _FINISH_DELIVERIES.run(conn, ids, ending)
        if written != len(rows):
            raise RuntimeError(f"{len(rows)} deliveries were run, {written} rows of theirs found")

    async def _write_failures(self, conn: AsyncConnection, attempts: Sequence[Attempt]) -> None:
        rows = [
            {
                "id": self._clock.new_id(),
                "delivery_id": attempt.work.id,
                "started_at": attempt.started_at,
                "duration_ms": attempt.duration_ms,
                "error": _storable(attempt.ending.error),
            }
            for attempt in attempts
            if isinstance(attempt.ending, Failed)
        ]
        if rows:
            await conn.execute(insert(t.attempts), rows)


_ENDING = ("state", "attempts", "next_at", "outcome", "reason", "finished_at")
_ENDING_OF, _IN_ORDER = itemgetter(*_ENDING), itemgetter("id", "chain", *_ENDING)
_FINISH_DELIVERIES = BulkUpdate(t.deliveries, "id", (), same=_ENDING)
_UPDATE_DELIVERIES = BulkUpdate(t.deliveries, "id", ("chain", *_ENDING))


def _own_chain(work: Work) -> int:
    """The chain of a delivery that has left the one of its key."""
    return chain_of(work.route_id, str(work.event.id))


def _storable(text: str) -> str:
    """Words of a handler as every database can hold them: they may quote a NUL or half a character of a sender."""
    if text.isascii() and "\x00" not in text:
        return text[:REASON_CHARS_MAX]
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")[:REASON_CHARS_MAX]


def _bounded(wait_s: float) -> float:
    """A wait that a calendar can hold; one that is not a number is the longest."""
    return wait_s if 0 <= wait_s <= WAIT_S_MAX else 0.0 if wait_s < 0 else WAIT_S_MAX
