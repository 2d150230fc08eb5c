"""The sealer: appends a block over everything that became final, and costs those who write nothing.

It reads a snapshot, hashes outside of any transaction, and commits a block of a few rows. Any process may have one; the
one that holds the lease works, the others wait for it to end. ``finding`` says what is to be sealed, ``chain`` appends
it, ``sweeping`` looks behind both.
Source: docs/prove.md, "How blocks are made".
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.seal import metrics
from hub.seal.chain import Chain, Head, read_head
from hub.seal.finding import SERIAL, Finder
from hub.seal.kinds import KINDS
from hub.seal.members import DamagedError
from hub.seal.sweeping import Sweep
from hub.signal import is_set_within
from hub.store.alone import read_alone
from hub.store.direct import Direct
from hub.store.store import Store
from hub.store.words import words_for_logs

SWEEP_REST_S: Final = 900.0
"""How long the sweep rests once it has been through everything."""
LAG_S: Final = 2.0
"""How long a row is left alone, so that transactions which drew an earlier number have committed by then."""
BUSY_SHARE: Final = 0.2
"""How much of its time the sealer works at most while it has to catch up."""
QUIET_LAGS: Final = 2
"""After so many times the lag without anything new, a whole look has looked at the newest."""
HEAD_LOG_S: Final = 10.0
"""How often at most the head goes into the log."""

log = structlog.get_logger(__name__)


class Sealer:
    """Seals until it is stopped. Any number of these may run, in any number of processes; one of them works."""

    def __init__(self, store: Store, clock: Clock, *, interval_s: float, lag_s: float = LAG_S) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = interval_s
        self._lag_s = lag_s
        self._stopping = asyncio.Event()
        self._chain = Chain(store, clock, clock.new_id())
        self._finder = Finder(store.dialect, clock, lag_s=lag_s)
        self._sweep = Sweep(store)
        self._sweep_rests_until = 0.0
        self._is_mine = False
        """Whether this one held the lease when it last looked."""
        self._held: Head | None = None
        self._news: list[object] = []
        """What the last short look has seen, since ``_news_at``; ``_was_all``: a whole one has sealed all of it."""
        self._news_at = clock.monotonic()
        self._was_all = False
        self._caught_up_at = clock.monotonic()
        self._logged = (0, clock.monotonic() - HEAD_LOG_S)

    async def run(self) -> None:
        """Seal once per interval until ``stop``."""
        while not self._stopping.is_set():
            try:
                await self.turn()
            except StoreUnavailableError as error:
                log.warning("seal_paused", error=str(error))
            except DBAPIError as error:
                # What is written past the hub must not stop it; the verification says what is wrong.
                log.error("seal_failed", error=words_for_logs(error))
            except DamagedError as error:
                log.error("seal_failed", error=str(error))
            metrics.LAG_S.set(max(0.0, self._clock.monotonic() - self._caught_up_at))
            await is_set_within(self._stopping, self._interval_s)
        with suppress(StoreUnavailableError):
            await self.leave()

    def stop(self) -> None:
        """Seal no more; what is under way comes to its end."""
        self._stopping.set()

    async def leave(self) -> None:
        """Let another one seal at once, and not only after the lease is over."""
        if self._is_mine:
            await self._chain.leave()
            self._is_mine = False

    async def turn(self) -> None:
        """Seal what there is, for a part of the interval; where there is nothing left, sweep. Idle beside another."""
        ends_at = self._clock.monotonic() + self._interval_s * BUSY_SHARE
        has_more = await self.seal()
        while has_more and self._clock.monotonic() < ends_at and not self._stopping.is_set():
            has_more = await self.seal()
        if not has_more:
            self._caught_up_at = self._clock.monotonic()
            if self._is_mine and self._clock.monotonic() >= self._sweep_rests_until and not await self.sweep():
                self._sweep_rests_until = self._clock.monotonic() + SWEEP_REST_S

    async def seal(self) -> bool:
        """Append one block over what is final and not sealed, if there is anything; answers whether there is more."""
        if await self._is_quiet():
            return False
        async with self._store.reading() as conn:
            head = await read_head(conn)
        self._tell(head)
        held = None if self._chain.is_others(head) else await self._chain.hold(head)
        self._held, self._is_mine = held, held is not None
        if held is None:
            return False
        async with self._store.reading() as conn:
            batch = await self._finder.look(conn)
        self._was_all = not batch and self._clock.monotonic() - self._news_at > QUIET_LAGS * self._lag_s
        if not batch:
            self._finder.settle_late(batch)
            return False
        new = await self._chain.append(batch, held)
        if new is None:
            return True
        self._held = new
        self._finder.settle_late(batch)
        for kind, count in Counter(one.kind for one in batch.members).items():
            metrics.SEALED.labels(kind=kind).inc(count)
        self._tell(new)
        return batch.is_full

    async def _is_quiet(self) -> bool:
        """Whether all there is was sealed and nothing has come since, so that this short look is enough.

        A whole one follows when the lease has to be renewed, and while anything is waited for.
        """
        [(turn, has_pending, *news)] = await read_alone(self._store, _NEWS)
        if news != self._news:
            self._news, self._news_at, self._was_all = news, self._clock.monotonic(), False
        is_waiting = bool(has_pending) or self._finder.is_waiting
        is_mine = self._held is not None and self._held.turn == turn and self._chain.is_held(self._held)
        return self._was_all and is_mine and not is_waiting

    async def sweep(self) -> bool:
        """Look once behind everything that is sealed; False once all has been looked at."""
        return await self._sweep.step()

    def _tell(self, head: Head) -> None:
        metrics.HEAD_NUMBER.set(head.number)
        metrics.HEAD_HASH.set(int.from_bytes(head.hash[:6], "big"))
        number, at = self._logged
        now = self._clock.monotonic()
        if head.number != number and now - at >= HEAD_LOG_S:
            self._logged = (head.number, now)
            log.info("seal_head_advanced", number=head.number, hash=head.hash.hex())


def _news() -> str:
    """Whose turn it is, whether anything was passed before it was final, and the newest of each kind."""
    tops = ", ".join(f'(SELECT max("{KINDS[kind].id}") FROM "{KINDS[kind].table.name}")' for kind in SERIAL)  # noqa: S608 - our names
    return f"SELECT (SELECT turn FROM seal_state), EXISTS (SELECT 1 FROM seal_pending), {tops}"  # noqa: S608 - as above


_NEWS = Direct(postgresql=_news(), sqlite=_news())
