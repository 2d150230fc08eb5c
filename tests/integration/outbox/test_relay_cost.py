"""What waits costs nothing: the relay's looks go through indexes that hold open rows alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, text

from tests.integration.outbox.bench import DRAIN_S, LONG_S, Bench, sent
from tests.integration.outbox.test_relay import always

WAITING = 3_000


async def test_ready_rows_of_a_blocked_chain_are_met_once(bench: Bench) -> None:
    first = await bench.put("anna")
    bench.broker.fate = always(first[0], "unroutable")
    relay = await bench.relay(batch_size=50)
    await bench.settle(relay)
    behind = await bench.put(*["anna"] * 120)
    await relay.drain(DRAIN_S)
    assert await bench.states() == {first[0]: "parked"} | dict.fromkeys(behind, "waiting")

    with watching(bench) as statements:
        other = await bench.put("bert")
        await relay.drain(DRAIN_S)

    assert bench.broker.ids() == other
    assert not [one for one, _ in statements if "'waiting'" in one and one.startswith("UPDATE")]


async def test_no_look_walks_over_what_waits_or_was_sent(bench: Bench) -> None:
    gone = await bench.put(*(f"key {number}" for number in range(WAITING)))
    relay = await bench.relay(batch_size=1_000)
    await relay.drain(DRAIN_S)
    first = await bench.put("anna")
    bench.broker.fate = always(first[0], "nack")
    behind = await bench.put(*["anna"] * WAITING)
    await relay.drain(DRAIN_S)
    await analyse(bench)

    with watching(bench) as statements:
        bench.clock.advance(LONG_S)
        other = await bench.put("bert")
        await relay.drain(DRAIN_S)

    states = await bench.states()
    assert states == sent([*gone, *other]) | dict.fromkeys([*first, *behind], "waiting")
    plans = await explained(bench, statements)
    assert plans
    for statement, plan in plans.items():
        # "own" and "outbox" are the outbox; the number tables and the few blocked chains may be walked.
        assert not re.search(r"SCAN (own|outbox)\b(?!_)|Seq Scan on outbox\b(?!_)", plan), statement + "\n" + plan


async def test_one_look_is_enough_where_it_takes_all_there_is(bench: Bench) -> None:
    relay = await bench.relay()
    await relay.drain(DRAIN_S)
    ids = await bench.put("anna", "bert", "bert")
    await relay._sweep()

    assert await relay._step() is True
    assert await relay._step() is None

    assert await bench.states() == sent(ids)


async def test_a_look_that_does_not_take_all_is_followed_by_another(bench: Bench) -> None:
    ids = await bench.put(*(f"key {number % 7}" for number in range(40)))
    relay = await bench.relay(batch_size=10)
    await relay._sweep()

    while await relay._step() is not None:
        pass

    assert await bench.states() == sent(ids)


async def analyse(bench: Bench) -> None:
    """Let the planner know how much lies there."""
    async with bench.store.writer.begin() as conn:
        await conn.execute(text("ANALYZE"))


@contextmanager
def watching(bench: Bench) -> Iterator[list[tuple[str, Any]]]:
    """Every statement that is run meanwhile, with its parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        statements.append((statement, parameters))

    engines = {bench.store.reader.sync_engine, bench.store.writer.sync_engine}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


async def explained(bench: Bench, statements: list[tuple[str, Any]]) -> dict[str, str]:
    """The plan of every statement that reads or marks the outbox."""
    prefix = "EXPLAIN QUERY PLAN " if bench.store.dialect == "sqlite" else "EXPLAIN "
    plans: dict[str, str] = {}
    async with bench.store.reading() as conn:
        for statement, parameters in statements:
            if "outbox" not in statement or statement.startswith("INSERT") or isinstance(parameters, list):
                continue
            rows = await conn.exec_driver_sql(prefix + statement, parameters)
            plans[statement] = "\n".join(str(row[-1]) for row in rows)
    return plans
