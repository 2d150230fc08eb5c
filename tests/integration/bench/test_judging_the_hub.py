"""The judge over what the hub leaves behind: nothing to say about a right run, and every kind of tampering found."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from benchmarks import judge
from benchmarks.hubs import site
from benchmarks.load import Load
from benchmarks.processes import run_child

LOAD = Load(events=120)
POISONED = Load(events=120, poison_every=100)


async def run_engine(folder: Path, load: Load) -> Path:
    """The database of a run of the hub's engine on SQLite."""
    async with site(folder, database_url="", broker_url="") as where:
        environ = {**where.environ, "BENCH_EVENTS": str(load.events), "BENCH_BATCH": "50"}
        await run_child(["-m", "benchmarks.engine"], environ=environ, timeout_s=300)
    return folder / "hub.db"


@pytest.fixture(scope="module")
def right_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(run_engine(tmp_path_factory.mktemp("engine"), LOAD))


@pytest.fixture
def file(right_run: Path, tmp_path: Path) -> Path:
    """A copy of the right run without the triggers that would refuse to be tampered with."""
    copy = tmp_path / "hub.db"
    with sqlite3.connect(right_run) as source, sqlite3.connect(copy) as target:
        source.backup(target)
        for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            target.execute(f"DROP TRIGGER {name}")
    source.close()
    target.close()
    return copy


def wrong(file: Path, load: Load = LOAD) -> list[str]:
    found = judge.read_sqlite(file, judge.HUB_QUERIES)
    return judge.wrong_with_hub(found, [load], judge.arrived_sqlite(file))


def test_nothing_is_wrong_with_a_right_run(file: Path) -> None:
    assert wrong(file) == []


def test_poison_that_was_not_parked_is_found(file: Path) -> None:
    problems = wrong(file, POISONED)

    assert "parked: expected 1, found 0" in problems
    assert "1 arrived that must not, such as e50" in problems


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("DELETE FROM inbox WHERE message_id IN (SELECT message_id FROM inbox LIMIT 1)", "events: expected 120"),
        ("DELETE FROM duplicates", "duplicates: expected 2, found 0"),
        ("UPDATE balances SET balance = balance + 1 WHERE account_id = 2", "wrong balances: expected 0, found 1"),
        ("UPDATE moves SET amount = amount + 1 WHERE id = 7", "wrong balances: expected 0, found 2"),
        ("DELETE FROM entries WHERE id = 7", "entries: expected 120, found 119"),
        ("DELETE FROM moves WHERE id = 7", "moves: expected 120, found 119"),
        ("UPDATE deliveries SET state = 'ready' WHERE id IN (SELECT max(id) FROM deliveries)", "open: expected 0"),
        ("UPDATE outbox SET state = 'ready' WHERE seq = 7", "sent: expected 120, found 119"),
        ("UPDATE outbox SET message_id = (SELECT max(message_id) FROM outbox)", "outbox: expected 120, found 1"),
        ("DELETE FROM local_messages WHERE id = 7", "1 never arrived"),
    ],
)
def test_tampering_is_found(file: Path, tampering: str, found: str) -> None:
    with sqlite3.connect(file) as connection:
        assert connection.execute(tampering).rowcount > 0
    connection.close()

    assert [problem for problem in wrong(file) if problem.startswith(found)]
