"""What one process knows of what stands still, and its share of each provider.

Workers and relays look at the rows each time they sweep, so that all processes see a pause within a second, and one
that this process puts is known here at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, TypeAlias

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.flow import metrics
from hub.flow.pauses import Cause, Kind, Pause, claim_probe, lift_pauses, put_pause, read_pauses, resumed_since
from hub.flow.provider import Provider
from hub.routing.flow import ProviderConfig
from hub.store.alone import Source
from hub.store.store import Store

PAUSE_S_MAX: Final = 7 * 86_400.0
"""The longest that a provider can be paused by anything but a person."""
THE_HUB: Final = "the hub"

_Key: TypeAlias = tuple[Kind, str, Cause]

log = structlog.get_logger(__name__)


class Flow:
    """The pauses of a database as this process knows them, and its turns at the providers."""

    def __init__(self, store: Store, clock: Clock, providers: Callable[[], Mapping[str, ProviderConfig]]) -> None:
        self._store = store
        self._configs = providers
        self._pauses: dict[_Key, Pause] = {}
        self._untold: dict[_Key, Pause] = {}
        """Pauses of this process that could not be written: here they hold all the same, until they are or are over."""
        self._providers: dict[str, Provider] = {}
        self._changes = self._under_way = 0
        self.clock = clock
        self.workers = 1
        """How many living processes share the providers: each has its equal part of what they allow."""

    async def look(self, source: Source) -> None:
        """Read what stands still."""
        changes = self._changes
        pauses = await read_pauses(source)
        # What was read while a change of ours was under way may be from before it: the next look sees both.
        if not self._under_way and changes == self._changes:
            self._know([*pauses, *self._untold.values()])

    async def tell_untold(self) -> None:
        """Write what could not be written before, where the database is there again."""
        untold, self._untold = self._untold, {}
        now = self.clock.now()
        # That a circuit was open is worth telling afterwards, too: it is half open now.
        rows = [one for one in untold.values() if one.holds(now) or one.cause == "circuit"]
        if not rows:
            return

        async def work(conn: AsyncConnection) -> set[_Key]:
            # Somebody may have found it standing still here, and lifted what no row told of.
            lifted = await resumed_since(conn, rows)
            for one in rows:
                if (one.kind, one.name, one.cause) not in lifted:
                    await put_pause(conn, one)
            return lifted

        try:
            with self._changing():
                lifted = await self._store.write(work)
            for kind, name, cause in sorted(lifted):
                log.info("untold_pause_lifted", kind=kind, name=name, cause=cause)
        except BaseException as error:
            self._untold = untold | self._untold
            if not isinstance(error, StoreUnavailableError):
                raise
            log.warning("pauses_not_told", count=len(rows), error=str(error))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._changes += 1

    def _know(self, pauses: Sequence[Pause]) -> None:
        before, self._pauses = self._pauses, {}
        for one in pauses:
            known = self._pauses.setdefault((one.kind, one.name, one.cause), one)
            # As the rows do it: the longer one counts.
            if known.until is not None and one.until is not None and known.until < one.until:
                self._pauses[one.kind, one.name, one.cause] = one
        now = self.clock.now()
        for key in before.keys() | self._pauses.keys():
            pause = self._pauses.get(key)
            metrics.PAUSED.labels(*key).set(pause is not None and pause.holds(now))
        for kind, name, cause in before.keys() - self._pauses.keys():
            if kind == "provider" and cause == "circuit":
                self.provider(name).forget()

    def pause_of(self, kind: Kind, name: str) -> Pause | None:
        """Why this stands still at this moment; of several reasons the one that lasts longest."""
        now = self.clock.now()
        found = [one for one in self._pauses.values() if (one.kind, one.name) == (kind, name) and one.holds(now)]
        return max(found, key=lambda one: (one.until is None, one.until or one.since), default=None)

    @property
    def paused_routes(self) -> frozenset[str]:
        """The routes that stand still at this moment."""
        now = self.clock.now()
        return frozenset(one.name for one in self._pauses.values() if one.kind == "route" and one.holds(now))

    def is_half_open(self, kind: Kind, name: str) -> bool:
        """Its circuit was open and its time is over: one may try."""
        circuit = self._pauses.get((kind, name, "circuit"))
        return circuit is not None and not circuit.holds(self.clock.now())

    def provider(self, name: str) -> Provider:
        """A provider's bounds and turns in this process."""
        if name not in self._providers:
            self._providers[name] = Provider(name, self, lambda: self._configs().get(name) or _ANY_PROVIDER)
        return self._providers[name]

    async def pause(self, kind: Kind, name: str, cause: Cause, *, by: str, reason: str, for_s: float) -> None:
        """Let it stand still for a time, in every process.

        Raises StoreUnavailableError: here it holds all the same, and the others hear of it from ``tell_untold``.
        """
        now = self.clock.now()
        until = now + timedelta(seconds=min(max(0.0, for_s), PAUSE_S_MAX))
        one = Pause(kind=kind, name=name, cause=cause, paused_by=by, reason=reason, since=now, until=until)
        known = self._pauses.get((kind, name, cause))
        if known is None or known.until is None or known.until < until:
            self._pauses[kind, name, cause] = one
            metrics.PAUSED.labels(kind, name, cause).set(1)
        log.warning("paused", kind=kind, name=name, cause=cause, by=by, reason=reason, for_s=round(for_s, 1))
        try:
            with self._changing():
                await self._store.write(lambda conn: put_pause(conn, one))
        except StoreUnavailableError:
            self._untold[kind, name, cause] = self._pauses.get((kind, name, cause), one)
            raise

    async def open_circuit(self, kind: Kind, name: str, *, reason: str, for_s: float) -> None:
        """Nobody answers: stop asking for a time."""
        try:
            await self.pause(kind, name, "circuit", by=THE_HUB, reason=reason, for_s=for_s)
        except StoreUnavailableError as error:
            log.warning("circuit_not_told", kind=kind, name=name, error=str(error))

    async def close_circuit(self, kind: Kind, name: str) -> None:
        """Somebody answers again."""
        self._pauses.pop((kind, name, "circuit"), None)
        self._untold.pop((kind, name, "circuit"), None)
        metrics.PAUSED.labels(kind, name, "circuit").set(0)
        try:
            with self._changing():
                lifted = await self._store.write(lambda conn: lift_pauses(conn, kind, name, cause="circuit"))
        except StoreUnavailableError as error:
            log.warning("circuit_not_told", kind=kind, name=name, error=str(error))
        else:
            if lifted:
                log.info("circuit_closed", kind=kind, name=name)

    async def claim_probe(self, kind: Kind, name: str, *, for_s: float) -> bool:
        """Whether this process may be the one that tries, for a time. Raises StoreUnavailableError."""
        now = self.clock.now()
        until = now + timedelta(seconds=for_s)
        return await self._store.write(lambda conn: claim_probe(conn, kind, name, now=now, until=until))


_ANY_PROVIDER: Final = ProviderConfig()
