"""The judge notices what it is there for: hubs with one promise broken, and a database that was tampered with."""

from __future__ import annotations

import ast
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.books import reading
from tests.faults.judge import Told, judge
from tests.faults.life import LivesHere
from tests.faults.mutants import MUTANTS
from tests.faults.scenarios import SCENARIOS, TOPUP
from tests.faults.stage import Stage
from tests.faults.trial import Play, clean_run, live, trial
from tests.support.databases import Databases

FAULTS = Path(__file__).parent

pytestmark = [
    # Connections are closed under the hub's feet here.
    pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

TAMPERED = {
    "a payment that is posted again": (
        "INSERT INTO local_messages SELECT id + 1000, queue, 'again', routing_key, content_type, payload, headers,"
        " published_at, deliveries FROM local_messages",
        "a message in a queue was in the outbox",
    ),
    "a lost message": ("DELETE FROM local_messages WHERE queue = 'wallet.platform'", "a sent message is in a queue"),
    "another byte in the inbox": (
        "UPDATE inbox SET payload = CAST(payload || ' ' AS BLOB) WHERE source = 'sepay'", "in the inbox once",
    ),
    "a delivery left open": (
        "UPDATE deliveries SET state = 'ready' WHERE id = (SELECT max(id) FROM deliveries)", "is done",
    ),
    "a message counted twice": ("UPDATE received_totals SET received = received + 1", "received = duplicates"),
    "an event that vanished": (
        "DELETE FROM inbox WHERE seq = (SELECT max(seq) FROM inbox)", "an identity belongs to an event",
    ),
}  # fmt: skip
"""What was done to the database → how, and a part of what the judge says."""


@pytest.mark.parametrize("mistake", list(MUTANTS))
async def test_a_hub_with_a_broken_promise_is_found_out(mistake: str, databases: Databases, tmp_path: Path) -> None:
    scenario, mutant = MUTANTS[mistake]
    stage = Stage(SCENARIOS[scenario], "sqlite", databases, tmp_path)
    await stage.prepare()

    with mutant():
        # Without a crash nothing shows, or hardly ever, which is why such mistakes live long.
        _, points, opened = await clean_run(stage, LivesHere())
        found: tuple[str, ...] = ()
        for point in points[opened:]:
            if point.is_boundary and not found:
                found = (await trial(stage, LivesHere(), point)).violations

    await stage.close()
    assert found, f"{mistake}: no crash at any boundary was noticed"


@pytest.mark.parametrize("deed", list(TAMPERED))
async def test_what_is_done_to_the_database_behind_the_hub_is_noticed(
    deed: str, databases: Databases, tmp_path: Path
) -> None:
    statement, rule = TAMPERED[deed]
    stage = Stage(TOPUP, "sqlite", databases, tmp_path)
    await stage.prepare()
    environ = await stage.copy()
    address = environ["HUB_DATABASE_URL"]
    async with reading(address) as books:
        play = Play(TOPUP, books)
        await live(play, environ, LivesHere().new(None, is_quiet=False))
        assert not (await play.verdict(None, was_reached=False)).violations

        with closing(sqlite3.connect(address.partition("///")[2], isolation_level=None)) as file:
            file.execute(statement)

        violations = (await play.verdict(None, was_reached=False)).violations
    await stage.close()
    assert any(rule in violation for violation in violations), violations


async def test_an_accepted_message_that_is_nowhere_is_noticed(databases: Databases, tmp_path: Path) -> None:
    stage = Stage(TOPUP, "sqlite", databases, tmp_path)
    await stage.prepare()
    environ = await stage.copy()

    async with reading(environ["HUB_DATABASE_URL"]) as books:
        violations = await judge(books, Told([("sepay", b"{}")], {"sepay": 1}, {"sepay": 1}), TOPUP.expected)

    await stage.close()
    assert any("in the inbox once" in violation for violation in violations)
    assert any("as many are counted as came" in violation for violation in violations)


@pytest.mark.parametrize("module", ["judge.py", "till_judge.py", "books.py"])
def test_the_judge_imports_nothing_of_the_hub(module: str) -> None:
    tree = ast.parse((FAULTS / module).read_text())
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]

    assert not [name for name in imported if name.split(".")[0] in ("hub", "handlers", "schemas", "sqlalchemy")]
