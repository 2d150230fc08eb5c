"""One run: two hubs, all providers, load and storm until everything is sent; then quiet, and the judge. Begin here."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import asyncpg

from tests.faults.books import reading
from tests.faults.kills.consumers import Consumers, consuming, digest_of
from tests.faults.kills.flows import PRICE, Flows
from tests.faults.kills.judge import EventSent, Evidence, KillsJudge, told
from tests.faults.kills.loymax import FLOW, FORWARDED, Loymax
from tests.faults.kills.place import Place, place_in
from tests.faults.kills.providers import Providers, played
from tests.faults.kills.senders import Lines, Pace
from tests.faults.kills.storm import Storm, deeds_of
from tests.faults.kills.tampering import EVENTS_MAX, TAMPERED, unnoticed
from tests.simulation.run import seen_by
from tests.simulation.world import Told
from tests.support.patience import until

SHARES: Final = {"exchange": 0.004, "payment": 0.003, "topup": 0.005, "subscription": 0.0025}
"""Of all events, how many pieces of each flow there are; each makes several messages of its own."""
LEAST: Final = 2
STILL_S_MAX: Final = 900.0
"""How long nothing may move in the end: PayPay's silence about a gift is believed after five minutes."""
LOOK_S: Final = 0.5
TELL_S: Final = 15.0
QUIET_TRIES: Final = 5
COMMANDS: Final = (("check",), ("ledger", "verify"), ("verify", "--seal"))
"""What an operator asks in the end; each must exit with 0."""
LEFT_TO_DO: Final = """
    SELECT (SELECT count(*) FROM inbox WHERE source = 'loymax'),
    (SELECT count(*) FROM inbox WHERE source = 'sepay-commands'),
    (SELECT count(*) FROM deliveries WHERE state NOT IN ('done', 'refused', 'discarded', 'parked')),
    (SELECT count(*) FROM outbox WHERE state NOT IN ('sent', 'parked')),
    (SELECT count(*) FROM outbox WHERE state = 'sent' AND destination <> 'paypal-records'),
    (SELECT 3 * count(*) FROM outbox WHERE destination = 'paypal-records')
        - (SELECT count(*) FROM inbox WHERE source LIKE 'paypal-record-%'),
    (SELECT count(*) FROM entries WHERE reference LIKE 'sepay:transfer:%'),
    (SELECT count(*) FROM paypay_cashback_request
        WHERE status NOT IN ('SUCCESS', 'FAILED', 'REJECTED') AND review_event_id IS NULL),
    (SELECT count(*) FROM timers WHERE type LIKE 'paypay.payment%' OR type LIKE 'paypay.cashback%'
        OR type LIKE 'paypay.reversal%' OR type LIKE 'paypal.invoice%')"""

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a run has come to."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    """Deeds by kind, hubs that were started, repeats that consumers saw."""
    events: Counter[str] = field(default_factory=Counter)
    """Accepted events by the system that sent them."""
    answers: Counter[str] = field(default_factory=Counter)
    stored: int = 0
    """Everything in the inbox, what the hubs told themselves included."""
    seconds: float = 0.0
    storm_s: float = 0.0
    hubs_s: float = 0.0
    """Processor time of all hubs; beside them work the servers, the played providers and the senders."""
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        total = sum(self.events.values())
        words = [
            f"seed {self.seed}: {len(self.violations)} violations",
            f"  {_counted(self.counts)}",
            f"  {total} events accepted: {_counted(self.events)}; {self.stored} stored with what followed of them",
            f"  {self.seconds:.0f} s, {self.storm_s:.0f} of them under load:"
            f" {total / max(self.storm_s, 1.0):.0f} events/s; {self.hubs_s:.0f} s of processor for the hubs",
            f"  senders heard {_counted(self.answers)}",
        ]
        return "\n".join([*words, *(f"  VIOLATION {one}" for one in self.violations)])


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


class Run:
    """All parts of one run."""

    def __init__(self, seed: int, kills: int, events: int, say: Say) -> None:
        self.chance = Random(f"kills {seed}")
        self.outcome = Outcome(seed)
        self.told = Told()
        self.deeds = deeds_of(kills, self.chance)
        pieces = {flow: max(LEAST, round(events * share)) for flow, share in SHARES.items()}
        self.pace = Pace({**pieces, FLOW: events - sum(pieces.values())})
        self.say = say
        self.place: Place
        self.providers: Providers
        self.lines: Lines
        self.consumers: Consumers
        self.loymax: Loymax
        self.flows: Flows
        self.storm: Storm

    async def whole(self, folder: Path) -> Outcome:
        """From the start of the servers to the judge."""
        begun = time.monotonic()
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            self.providers = await enter(played(self.outcome.seed))
            self.place = await enter(place_in(folder, self.chance, **self.providers.environ))
            for replica in self.place.replicas:
                await replica.start()
            self.lines = await enter(Lines(self.place.urls, self.told, self.chance))
            self.consumers = await enter(consuming(self.place.node.url))
            self._load()
            await self.flows.prepare()
            self.say(f"two hubs are up after {time.monotonic() - begun:.0f} s; {len(self.deeds)} deeds to do")
            await self._storm()
            await self._end()
        self.outcome.seconds = time.monotonic() - begun
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.outcome.hubs_s = used.ru_utime + used.ru_stime
        return self.outcome

    def _load(self) -> None:
        broker = self.place.node.url
        self.providers.connect(self.lines, Path(self.place.replicas[0].environ["HUB_HOME"]))
        self.loymax = Loymax(self.lines, broker, self.pace, self.told, self.chance, self._backlog)
        self.flows = Flows(self.lines, broker, self.pace, self.told, self.chance, self.providers)
        self.storm = Storm(self.place, self.pace, self.chance, self._progress)

    def _backlog(self) -> int:
        return len(self.loymax.events) - self.consumers.events_told

    def _progress(self) -> float:
        return self.consumers.events_told / self.pace.totals[FLOW]

    async def _storm(self) -> None:
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell_of_it(begun))
            parts = self.storm.run(self.deeds), self.loymax.run(), self.flows.run()
            await asyncio.wait([group.create_task(one) for one in parts])
            telling.cancel()
        await self.providers.all_told()
        self.outcome.storm_s = time.monotonic() - begun
        self.say(f"all is sent after {self.outcome.storm_s:.0f} s of load; waiting for quiet")

    async def _tell_of_it(self, begun: float) -> None:
        while True:
            await asyncio.sleep(TELL_S)
            self.say(
                f"{time.monotonic() - begun:5.0f} s: {_counted(self.storm.done)} of {len(self.deeds)} deeds;"
                f" begun {_counted(self.pace.begun)}; backlog {self._backlog()};"
                f" fallen {len(self.place.ends.by_themselves)}"
            )

    async def _end(self) -> None:
        found = self.outcome.violations
        try:
            await self._quiet()
        except TimeoutError as error:
            found.append(f"everything comes to its end: {error}; {await self._left()}")
        found += self.place.ends.by_themselves
        if self.told.refused:
            found.append(told("nobody is refused", (str(one) for one in self.told.refused)))
        async with reading(self.place.database) as books:
            [[self.outcome.stored]] = await books.rows("SELECT count(*) FROM inbox")
            evidence = self._evidence()
            found += await KillsJudge(books).everything(evidence)
            if not found and self.outcome.stored < EVENTS_MAX:
                self.outcome.counts["tampered databases noticed"] = len(TAMPERED)
                found += await unnoticed(books, evidence)
        for command in COMMANDS:
            code, said = await self.place.command(*command)
            if code:
                found.append(f"hub {' '.join(command)} exits with {code}: {said[-1_000:]}")
        self.outcome.events = Counter(source for source, _ in self.told.accepted)
        self.outcome.events["command"] += self.told.answered["command"]
        self.outcome.answers = self.lines.requests
        self.outcome.counts += Counter(self.storm.done) + Counter(
            {"repeats at consumers": self.consumers.repeats, "starts in vain": self.place.ends.unborn}
        )

    async def _quiet(self) -> None:
        """Wait until nothing is left to do, and stop both hubs in order; again where a schedule began something."""
        for _ in range(QUIET_TRIES):
            await until(self._is_quiet, "quiet", deadline_s=STILL_S_MAX, pause_s=LOOK_S, moves=self._left)
            for replica in self.place.replicas:
                await replica.stop_in_order()
            if await self._is_quiet():
                return
            for replica in self.place.replicas:
                await replica.start()
        raise TimeoutError("something is begun whenever the hubs stop")

    async def _is_quiet(self) -> bool:
        left = await self._left()
        if not left:
            return False
        loymax, orders, deliveries, unsent, sent, records, transfers, exchanges, timers = left
        came = sum(len(one) for one in self.consumers.first.values())
        by_message = sum(source == "sepay-commands" for source, _ in self.told.accepted)
        return (
            (loymax, orders, transfers) == (len(self.loymax.events), by_message, len(self.told.transfers))
            and came >= sent
            and not any((deliveries, unsent, records, exchanges, timers))
        )

    async def _left(self) -> tuple[Any, ...]:
        """How many of what are stored or still to do; nothing while the database is away."""
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            async with reading(self.place.database) as books:
                [row] = await books.rows(LEFT_TO_DO)
                return tuple(row)
        return ()

    def _evidence(self) -> Evidence:
        world: Any = self
        with self.providers.paypal.keeper.opened() as book:
            subscriptions = [str(row.get("custom_id")) for row in book.subscriptions.values()]
        return Evidence(
            seen=seen_by(world),
            events=[
                EventSent(digest_of(one.body), one.member, one.number, one.kind in FORWARDED)
                for one in self.loymax.events
            ],
            arrived=self.consumers.first,
            changed=self.consumers.changed,
            without_id=self.consumers.without_id,
            paid=self.flows.paid,
            price=PRICE,
            orders=self.flows.orders,
            wishes=self.flows.wishes,
            subscriptions=subscriptions,
            payments=self.flows.payments,
        )

    @property
    def paypay(self) -> Any:
        """As ``seen_by`` asks a world for it."""
        return self.providers.paypay

    @property
    def paypal(self) -> Any:
        return self.providers.paypal
