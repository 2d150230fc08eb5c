"""The baselines keep their own promises, and the judge finds what is missing or wrong in what they leave behind."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from benchmarks import judge
from benchmarks.baselines import sqlite_orm
from benchmarks.baselines.settings import Places, environment_of
from benchmarks.drain import drain_by_baseline
from benchmarks.judge import Arrivals
from benchmarks.limits import broker_alone, sql_alone
from benchmarks.load import Load
from benchmarks.webhook import end_to_end_by_orm, server_alone

LOAD = Load(events=120)
RABBITMQ = os.environ.get("HUB_TEST_RABBITMQ_URL", "")
needs_rabbitmq = pytest.mark.skipif(not RABBITMQ, reason="HUB_TEST_RABBITMQ_URL names no RabbitMQ")
needs_postgres = pytest.mark.skipif(
    not os.environ.get("HUB_TEST_POSTGRES_URL"), reason="HUB_TEST_POSTGRES_URL names no PostgreSQL"
)


@needs_rabbitmq
@needs_postgres
@pytest.mark.parametrize("module", ["naive", "one_statement"])
async def test_a_worker_from_queue_to_queue_does_each_event_once(module: str) -> None:
    figure = await drain_by_baseline(module, module, LOAD, broker_url=RABBITMQ)

    # The judge has looked at every row and every message: a wrong run raises.
    assert 0 < figure.events < LOAD.events
    assert figure.per_s > 0
    assert figure.worker_cpu_s > 0
    assert figure.peak_mb > 0


@needs_rabbitmq
@needs_postgres
async def test_the_naive_webhook_does_each_event_once() -> None:
    figure = await end_to_end_by_orm("webhook naive", LOAD, broker_url=RABBITMQ)

    assert figure.number("acks_per_s") > 0
    assert figure.number("ack_p99_ms") >= figure.number("ack_p50_ms")


async def test_the_server_alone_answers_every_request() -> None:
    figure = await server_alone("server alone", LOAD)

    assert figure.number("acks_per_s") > figure.per_s  # the repeats are answers, and no events


@needs_postgres
async def test_sql_alone_does_each_event_once() -> None:
    figure = await sql_alone("sql alone", LOAD)

    assert figure.per_s > 0


@needs_rabbitmq
async def test_the_broker_alone_hands_out_what_was_published() -> None:
    figure = await broker_alone("broker alone", LOAD, broker_url=RABBITMQ)

    assert figure.events == LOAD.events + LOAD.repeats
    assert figure.number("consumed_per_s") > 0


@pytest.fixture
async def left_behind(tmp_path: Path) -> Path:
    """The database of a naive run on SQLite."""
    file = tmp_path / "naive.db"
    environ = environment_of(database_url=f"sqlite:///{file}")
    places = Places(environ["BENCH_DATABASE_URL"], "", "", "", 0, b"")
    await sqlite_orm.main(places, LOAD)
    return file


def arrivals_of(load: Load) -> Arrivals:
    return Arrivals(load.good_ids(), load.events)


def wrong(file: Path, arrivals: Arrivals) -> list[str]:
    return judge.wrong_with_baseline(judge.read_sqlite(file, judge.BASELINE_QUERIES), [LOAD], arrivals)


async def test_the_judge_has_nothing_to_say_about_a_right_run(left_behind: Path) -> None:
    assert wrong(left_behind, arrivals_of(LOAD)) == []


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("DELETE FROM events WHERE id = 'e7'", "events: expected 120, found 119"),
        ("UPDATE accounts SET balance = balance + 1 WHERE code = 'c7'", "wrong balances: expected 0, found 1"),
        ("DELETE FROM postings WHERE id = 7", "postings: expected 240, found 239"),
        ("UPDATE postings SET amount = amount + 1 WHERE id = 7", "wrong entries: expected 0, found 1"),
        ("DELETE FROM outbox WHERE id = 7", "outbox: expected 120, found 119"),
        ("INSERT INTO entries (event_id) VALUES ('e7x')", "entries: expected 120, found 121"),
    ],
)
async def test_the_judge_finds_what_was_tampered_with(left_behind: Path, tampering: str, found: str) -> None:
    with sqlite3.connect(left_behind) as connection:
        connection.execute(tampering)
    connection.close()

    assert found in wrong(left_behind, arrivals_of(LOAD))


async def test_the_judge_misses_a_message_that_never_arrived(left_behind: Path) -> None:
    arrivals = arrivals_of(LOAD)
    arrivals.ids.remove("e7")
    arrivals.ids.add("e1000")

    assert wrong(left_behind, arrivals) == [
        "1 never arrived, such as e7",
        "1 arrived that must not, such as e1000",
    ]
