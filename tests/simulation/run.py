"""One run: a hub, its world and its judge, from the first deed to the end of everything. Begin here.

The seed decides what happens; ``deeds`` may leave some of it out, without changing the rest.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from uuid import UUID

import structlog

from handlers.paypal.authority import Authority
from handlers.paypal.sandbox_invoicing import InvoicingApi
from handlers.paypal.sandbox_webhooks import Postman
from handlers.paypay.sandbox_books import Cashback, Payment, Refund
from hub.app import Hub
from tests.faults.books import Books, Row, reading
from tests.faults.invoices import CREDENTIALS, WEBHOOK_ID
from tests.faults.scenarios import JWT_SECRET
from tests.simulation.chance import Chance, Weather
from tests.simulation.clock import VirtualClock
from tests.simulation.deeds import SHOPPERS, STEPS, Deed, do, plan, session_of
from tests.simulation.gate import Gate, gates
from tests.simulation.inline import at_once
from tests.simulation.judge import Judge, Seen
from tests.simulation.life import looking_seldom
from tests.simulation.loop import VirtualLoop, no_waiting
from tests.simulation.providers import (
    PAYPAY_URL,
    SEPAY_TOKEN,
    PlayedPayPay,
    asked_here,
    listening,
    played_paypal,
    statement_of,
)
from tests.simulation.world import World
from tests.support.copies import drop
from tests.support.paypay import API_KEY as PAYPAY_KEY
from tests.support.paypay import API_SECRET, MERCHANT
from tests.support.running import environment
from tests.support.servers import address_of, administer, connect_to, new_name

STEP_S: Final = 0.4
"""How long the hub works after each step: signals reach it at once."""
LOOK_S: Final = 1.2
"""After a jump: whatever looks from time to time is late, and does so at once."""
WHOLE_EVERY: Final = 12
CALM_STEPS_MAX: Final = 60
CALM_JUMPS_S: Final = (400.0, 3_700.0, 20_000.0)


@dataclass
class Result:
    """What came of a run."""

    seed: int
    violations: list[str]
    digest: str = ""
    deeds: list[Deed] = field(default_factory=list)
    events: int = 0
    keys: int = 0
    lives: int = 0
    points: int = 0
    faults: int = 0
    failed_at: int = -1

    def __str__(self) -> str:
        words = f"seed {self.seed}: {self.events} events, {self.keys} keys, {self.lives} lives, {self.faults} faults of"
        words += f" providers, {self.points} points, digest {self.digest}"
        return "\n    ".join([words, *self.violations])


class Stage:
    """A database as a hub leaves it that was opened once, and the rules; made once for all runs of a process."""

    def __init__(self, dialect: str = "sqlite") -> None:
        self.dialect = dialect
        shared = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="hub_simulation_", dir=shared if shared.is_dir() else None))
        self._template = new_name()
        environ = self._environ(self.folder / "home", self._empty(self._template))
        run_virtually(0, self.dialect, lambda loop, clock: _opened(environ, clock))
        self._link()

    def fresh(self) -> dict[str, str]:
        """The environment of a hub on a copy of its own."""
        home = Path(tempfile.mkdtemp(dir=self.folder))
        if self.dialect == "sqlite":
            shutil.copyfile(self._file(self._template), home / "hub.db")
            return self._environ(home, f"sqlite+aiosqlite:///{home / 'hub.db'}")
        name = new_name()
        asyncio.run(administer(f"CREATE DATABASE {name} TEMPLATE {self._template}"))
        return self._environ(home, address_of(name))

    def clear(self, environ: dict[str, str]) -> None:
        """Remove that copy."""
        shutil.rmtree(environ["HUB_HOME"], ignore_errors=True)
        if self.dialect == "postgresql":
            asyncio.run(drop(environ["HUB_DATABASE_URL"].rpartition("/")[2]))

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.dialect == "postgresql":
            asyncio.run(drop(self._template))

    def _empty(self, name: str) -> str:
        if self.dialect == "sqlite":
            return f"sqlite+aiosqlite:///{self._file(name)}"
        asyncio.run(administer(f"CREATE DATABASE {name}"))
        return address_of(name)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.db"

    def _link(self) -> None:
        """Members who have linked their accounts before all this began."""
        statements = [_linked(number) for number in range(SHOPPERS)]
        if self.dialect == "postgresql":
            asyncio.run(_execute(self._template, statements))
            return
        with closing(sqlite3.connect(self._file(self._template), isolation_level=None)) as file:
            for statement in statements:
                # As SQLAlchemy writes an id there: without its hyphens.
                file.execute(statement.replace(str(_session_in(statement)), _session_in(statement).hex))

    def _environ(self, home: Path, address: str) -> dict[str, str]:
        return environment(
            home,
            address,
            HUB_JWT_SECRET=JWT_SECRET,
            HUB_DATABASE_POOL_SIZE="4",
            PAYPAY_API_KEY=PAYPAY_KEY,
            PAYPAY_API_SECRET=API_SECRET,
            PAYPAY_MERCHANT_ID=MERCHANT,
            PAYPAY_BASE_URL=PAYPAY_URL,
            PAYPAY_RATE_PER_S="10000",
            PAYPAY_HINTS_PER_S="1000",
            SEPAY_API_TOKEN=SEPAY_TOKEN,
            **CREDENTIALS,
        )


async def _opened(environ: dict[str, str], clock: VirtualClock) -> None:
    hub = await Hub.open(environ, clock=clock)
    await hub.stop(1.0)


async def _execute(name: str, statements: Sequence[str]) -> None:
    connection = await connect_to(name)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _linked(number: int) -> str:
    member, device = f"s{number}", "APP" if number % 2 else "PC"
    return (
        "INSERT INTO paypay_sessions (id, member_id, device_type, nonce, reference_id, scopes, redirect_url, status,"
        " user_authorization_id, authorization_expires_at, expires_at, created_at, updated_at)"
        f" VALUES ('{session_of(number)}', '{member}', '{device}', 'nonce-{member}', '{member}',"
        " 'cashback,direct_debit',"
        f" 'https://shop.example/', 'LINKED', 'user-{member}', '2027-11-21T00:00:00.000000Z',"
        " '2026-11-22T00:00:00.000000Z', '2026-11-21T00:00:00.000000Z', '2026-11-21T00:00:00.000000Z')"
    )


def _session_in(statement: str) -> UUID:
    return UUID(statement.partition("VALUES ('")[2][:36])


def run_virtually(seed: int, dialect: str, main: Any) -> Any:
    """Run ``main(loop, clock)`` on a loop of its own, where nothing depends on anything but the seed."""
    loop = VirtualLoop()
    clock = VirtualClock(loop, random.Random(f"ids {seed}"))
    random.seed(f"jitter {seed}")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(int(os.environ.get("HUB_TEST_LOG_LEVEL", "50")))
    )
    loop.set_exception_handler(lambda _loop, _context: None)
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(no_waiting(loop, lambda: clock.now().timestamp()))
        enter(at_once(dialect))
        enter(looking_seldom())
        enter(patch("hub.event._random_bytes", clock.random_bytes))
        asyncio.set_event_loop(loop)
        gates.now = Gate()
        try:
            return loop.run_until_complete(main(loop, clock))
        finally:
            gates.now.close()
            loop.close()
            asyncio.set_event_loop(None)


def play(stage: Stage, seed: int, deeds: Sequence[Deed] | None = None) -> Result:
    """One run from its beginning to its end, or to the first violation."""
    chance = Chance(seed)
    weather = Weather.of(chance)
    chosen = list(plan(chance, weather) if deeds is None else deeds)
    environ = stage.fresh()
    try:
        result: Result = run_virtually(
            seed, stage.dialect, lambda loop, clock: _played(loop, clock, chance, weather, chosen, environ, seed)
        )
    finally:
        stage.clear(environ)
    return result


async def _played(
    loop: VirtualLoop,
    clock: VirtualClock,
    chance: Chance,
    weather: Weather,
    deeds: list[Deed],
    environ: dict[str, str],
    seed: int,
) -> Result:
    authority = Authority.of(Path(environ["HUB_HOME"]) / "sandbox/paypal")
    world = World(loop, clock, chance, weather, authority)
    world.paypay = PlayedPayPay(chance, weather, clock, world.mail)
    for number in range(SHOPPERS):
        world.paypay.has_member(f"s{number}")
    postman = Postman(authority, "", WEBHOOK_ID)
    world.paypal = played_paypal(
        postman, chance, weather, clock, world.mail, client_id="test-client", secret="test-secret"
    )
    paypal_server, paypal_url = await listening([*world.paypal.routes(), *InvoicingApi(world.paypal).routes()])
    bank_server, bank_url = await listening(list(statement_of(world.bank).routes()))
    loop.answer_s = chance.between(0.0, 1.0, "answers in")
    world.environ = {**environ, "HUB_PAYPAL_BASE_URL": paypal_url, "SEPAY_API_BASE": bank_url}
    result = Result(seed, [], deeds=deeds)
    with asked_here(world.paypay):
        async with _reading(loop, environ["HUB_DATABASE_URL"]) as books:
            judge = Judge(books)
            try:
                await _steps(world, judge, deeds, result)
                result.digest = await _digest(books)
                [[result.events]] = await books.rows("SELECT count(*) FROM inbox")
                [[result.keys]] = await books.rows("SELECT count(DISTINCT key) FROM inbox")
            finally:
                if world.life is not None:
                    await world.life.end()
                    world.told.points += world.life.gate.points
                await paypal_server.cleanup()
                await bank_server.cleanup()
                others = asyncio.all_tasks() - {asyncio.current_task()}
                for task in others:
                    task.cancel()
                if others:
                    await asyncio.wait(others)
    result.lives, result.points = world.told.lives, world.told.points
    result.faults = len(world.paypay.faults.happened) + len(world.paypal.luck.happened)
    return result


class _WaitedBooks:
    """Books that are read from a server: the loop waits for it."""

    def __init__(self, loop: VirtualLoop, books: Books) -> None:
        self._loop = loop
        self._books = books

    async def rows(self, query: str) -> list[Row]:
        with _waiting(self._loop):
            return await self._books.rows(query)


@contextmanager
def _waiting(loop: VirtualLoop) -> Iterator[None]:
    loop.outside += 1
    try:
        yield
    finally:
        loop.outside -= 1


@asynccontextmanager
async def _reading(loop: VirtualLoop, address: str) -> AsyncIterator[Books]:
    opening = reading(address)
    with _waiting(loop):
        books = await opening.__aenter__()
    try:
        yield books if address.startswith("sqlite") else _WaitedBooks(loop, books)
    finally:
        with _waiting(loop):
            await opening.__aexit__(None, None, None)


async def _steps(world: World, judge: Judge, deeds: Sequence[Deed], result: Result) -> None:
    await world.begin_life()
    by_step: dict[int, list[Deed]] = {}
    for deed in deeds:
        by_step.setdefault(deed.step, []).append(deed)
    for number in range(STEPS):
        passes_s = 0.0
        for deed in by_step.get(number, ()):
            passes_s += do(deed, world)
        world.clock.jump(passes_s)
        await world.step(LOOK_S if passes_s else STEP_S)
        seen = seen_by(world)
        result.violations += await judge.step(seen)
        if number % WHOLE_EVERY == WHOLE_EVERY - 1:
            result.violations += await judge.whole(seen)
        if result.violations:
            result.failed_at = number
            return
    await _calm(world, judge)
    result.violations += world.unanswered()
    seen = seen_by(world)
    result.violations += await judge.step(seen)
    result.violations += await judge.whole(seen)
    result.violations += await judge.end(seen)


async def _calm(world: World, judge: Judge) -> None:
    """Nothing goes wrong any more, and time passes until nothing is left to do."""
    world.is_calm = True
    world.clock.skew_s = 0.0
    world.paypay.faults.clear()
    world.paypal.luck.share = 0.0
    # Else each jump cuts off whatever call is out then: of checks that are asked for at each jump, only every second
    # jump would let one end.
    world.loop.answer_s = 0.0
    if world.life is not None:
        world.life.gate.kill_in, world.life.gate.fails, world.life.gate.commits = 0, [], []
    for number in range(CALM_STEPS_MAX):
        # All that is on its way comes, however late.
        world.clock.jump(max(CALM_JUMPS_S[number % len(CALM_JUMPS_S)], world.latest_s / 2))
        await world.step(LOOK_S)
        if world.is_quiet and await _is_done(judge):
            return


async def _is_done(judge: Judge) -> bool:
    [[left]] = await judge.books.rows(
        "SELECT (SELECT count(*) FROM deliveries WHERE state NOT IN ('done', 'refused', 'discarded', 'parked'))"
        " + (SELECT count(*) FROM outbox WHERE state NOT IN ('sent', 'parked'))"
        " + (SELECT count(*) FROM paypay_cashback_request WHERE status NOT IN ('SUCCESS', 'FAILED', 'REJECTED')"
        " AND review_event_id IS NULL) + (SELECT count(*) FROM local_messages WHERE queue LIKE 'hub.%')"
        " + (SELECT count(*) FROM timers WHERE type LIKE 'paypay.payment%')"
    )
    return int(left) == 0


def seen_by(world: World) -> Seen:
    """What the world knows, for the judge."""
    told, books, now = world.told, world.paypay.books, world.paypay.clock()
    gifts = books.all(Cashback)
    back: dict[str, int] = {}
    for refund in books.all(Refund):
        back[refund.payment_id] = back.get(refund.payment_id, 0) + refund.amount_jpy
    taken = {
        one.id: one.amount_jpy - back.get(one.payment_id, 0)
        for one in books.all(Payment)
        if world.paypay.payments.status(one, now) in ("COMPLETED", "REFUNDED")
    }
    with world.paypal.keeper.opened() as book:
        sales = {
            sale["id"]: (_cents(sale["amount"]["total"]), _cents(sale.get("taken_back", "0")))
            for sale in book.sales.values()
        }
        invoices = [
            (row["detail"]["invoice_number"], row["status"], len(row.get("payments", {}).get("transactions", [])))
            for row in book.invoices.values()
        ]
    return Seen(
        accepted=told.accepted,
        sent=told.sent,
        answered=told.answered,
        refused=told.refused,
        purchases=told.purchases,
        transfers=told.transfers,
        exchanges=told.exchanges,
        grants=told.grants,
        gifts={one.id: one.decision for one in gifts},
        gift_yen={one.id: one.amount_jpy for one in gifts},
        taken_jpy=taken,
        sales=sales,
        invoices=invoices,
    )


def _cents(text: str) -> int:
    return int(Decimal(text) * 100)


async def _digest(books: Any) -> str:
    """Stands for everything that the run has left in the books and queues."""
    made = blake2b(digest_size=8)
    for query in (
        "SELECT reference, posted_at FROM entries ORDER BY id",
        "SELECT debit_account, credit_account, amount FROM moves ORDER BY id",
        "SELECT type, key, received_at, source FROM inbox ORDER BY seq",
        "SELECT state, outcome, attempts, finished_at FROM deliveries ORDER BY id",
        "SELECT queue, routing_key FROM local_messages ORDER BY id",
    ):
        made.update(json.dumps([list(map(str, row)) for row in await books.rows(query)]).encode())
    return made.hexdigest()
