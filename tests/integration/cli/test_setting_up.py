"""Around the hub: the database, tokens, the doctor, and what goes wrong before anything starts."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import asyncpg
import pytest

from hub.cli.lock import LOCK_FILE
from hub.ingress.tokens import Tokens
from tests.integration.cli.commanding import BLOCK, BLOCK_TYPE, EXAMPLES, Cli
from tests.support.databases import Databases
from tests.support.running import PROJECT, WEBHOOK_KEY

RUN_S_MAX = 180.0


def test_a_new_database_is_upgraded_once(cli: Cli) -> None:
    (cli.home / "hub.db").unlink()

    before = cli("db", "current", "--json")
    done, again = cli("db", "upgrade", "--json").json, cli("db", "upgrade")
    after = cli("db", "current")

    assert before.code == 1
    assert before.json["branches"]["hub"] is None
    assert before.json["missing"] == done["done"]
    assert again.out == "The database is up to date.\n"
    assert after.code == 0
    assert "Nothing is missing." in after.out


def test_a_first_command_makes_the_database_and_prints_nothing_but_its_answer(cli: Cli) -> None:
    (cli.home / "hub.db").unlink()

    done = subprocess.run(
        [sys.executable, "-m", "hub", "events", "list", "--json"],
        cwd=PROJECT,
        env=cli.process_environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_a_token_is_printed_alone_and_names_the_user(cli: Cli) -> None:
    token = cli("token", "--user", "42").out.strip()
    as_json = cli("token", "--user", "42", "--life-s", 60, "--json").json

    user = Tokens(secret=cli.environ["HUB_JWT_SECRET"]).verify(token, datetime.now(UTC))
    assert user.id == "42"
    assert (as_json["user"], as_json["expires_in_s"]) == ("42", 60)


def test_without_the_secret_or_a_user_there_is_no_token(cli: Cli) -> None:
    empty = cli("token", "--user", " ")
    cli.unset("HUB_SANDBOX")
    cli.unset("HUB_JWT_SECRET")

    answer = cli("token", "--user", "42")

    assert empty.code == answer.code == 2
    assert answer.out == ""
    assert "HUB_JWT_SECRET is not set" in answer.err


def test_the_doctor_says_why_a_webhook_is_refused_and_never_shows_the_secret(cli: Cli) -> None:
    call = ("doctor", "webhook", "sepay", EXAMPLES / "transfer_in.json")

    good = cli(*call, "--header", f"Authorization=Apikey {WEBHOOK_KEY}", "--json")
    bad = cli(*call, "--header", f"Authorization: Bearer {WEBHOOK_KEY}")
    none = cli(*call)

    assert (good.code, good.json["ok"]) == (0, True)
    assert bad.code == none.code == 1
    assert "expected 'Apikey'" in bad.words
    assert "The header authorization is missing" in none.words
    assert WEBHOOK_KEY not in good.out + bad.out + none.out


def test_the_doctor_knows_only_sources_that_take_webhooks(cli: Cli) -> None:
    answer = cli("doctor", "webhook", "sepa", EXAMPLES / "transfer_in.json")

    assert answer.code == 2
    assert "there is no source 'sepa' that takes webhooks; did you mean 'sepay'?" in answer.err


def test_a_missing_variable_is_named_with_its_place(cli: Cli) -> None:
    cli.unset("HUB_SANDBOX")
    cli.unset("SEPAY_WEBHOOK_API_KEY")

    answer = cli("doctor", "webhook", "sepay", EXAMPLES / "transfer_in.json")

    assert answer.code == 2
    assert "routing.yaml:" in answer.err
    assert "the environment variable SEPAY_WEBHOOK_API_KEY is not set" in answer.err


def test_every_wrong_setting_is_told_at_once(cli: Cli) -> None:
    cli.set({"HUB_PORT": "eighty", "HUB_DATABASE_URL": "mysql://root@127.0.0.1/hub"})

    answer = cli("events", "list")

    assert answer.code == 2
    assert "HUB_PORT: " in answer.err
    assert "HUB_DATABASE_URL: " in answer.err


def test_a_command_that_meets_a_locked_database_says_who_holds_it(cli: Cli) -> None:
    (cli.home / LOCK_FILE).write_text(json.dumps({"pid": os.getpid(), "since": "2026-11-21 09:30:00Z"}))
    writer = sqlite3.connect(cli.home / "hub.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")

    answer = cli("publish", BLOCK, "--source", "loymax", "--type", BLOCK_TYPE)
    looked = cli("events", "list")
    writer.close()

    assert answer.code == 1
    assert "database is locked" in answer.err
    assert f"hub run (process {os.getpid()}, since 2026-11-21 09:30:00Z) is writing to it" in answer.err
    assert looked.code == 0


def test_a_lock_file_of_a_daemon_that_is_gone_accuses_nobody(cli: Cli) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (cli.home / LOCK_FILE).write_text(json.dumps({"pid": gone.pid, "since": "2026-11-21 09:30:00Z"}))
    writer = sqlite3.connect(cli.home / "hub.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")

    answer = cli("publish", BLOCK, "--source", "loymax", "--type", BLOCK_TYPE)
    writer.close()

    assert answer.code == 1
    assert "another process is writing to it" in answer.err


def test_a_database_that_is_away_is_told_in_one_sentence(cli: Cli) -> None:
    cli.set({"HUB_DATABASE_URL": "postgresql://hub:hush@127.0.0.1:1/hub"})

    answer = cli("events", "list")

    assert answer.code == 1
    assert "the database did not answer" in answer.err
    assert "hush" not in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("roles", [(), ("--role", "worke"), ("--workers", "2")])
def test_a_hub_that_cannot_start_says_why_and_ends_with_2(cli: Cli, roles: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        done = subprocess.run(
            [sys.executable, "-m", "hub", "run", *roles],
            cwd=PROJECT,
            env=cli.process_environ | {"HUB_PORT": port},
            capture_output=True,
            text=True,
            timeout=RUN_S_MAX,
            check=False,
        )

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    said = {(): port, ("--role", "worke"): "--role", ("--workers", "2"): "--workers"}[roles]
    assert said in done.stderr


def test_the_same_commands_work_on_postgresql(cli: Cli, databases: Databases) -> None:
    address = asyncio.run(databases.fresh("postgresql"))
    cli.set({"HUB_DATABASE_URL": address})
    event_id = cli.publish(BLOCK, BLOCK_TYPE)

    shown, check, explained = cli("events", "show", event_id), cli("check"), cli("explain", event_id)
    verified, current = cli("ledger", "verify"), cli("db", "current", "--json")
    asyncio.run(databases.drop(address))

    assert [one.code for one in (shown, check, explained, verified, current)] == [0, 0, 0, 0, 0]


def test_a_postgresql_that_lacks_migrations_is_left_alone(cli: Cli, databases: Databases) -> None:
    address = asyncio.run(databases.fresh("postgresql"))
    cli.set({"HUB_DATABASE_URL": address})
    asyncio.run(_execute(address, "DROP TABLE alembic_version_loyalty"))

    answer = cli("events", "list")
    asyncio.run(databases.drop(address))

    assert answer.code == 2
    assert "run `hub db upgrade` first" in answer.err


async def _execute(address: str, statement: str) -> None:
    connection = await asyncpg.connect(address.replace("+asyncpg", ""))
    await connection.execute(statement)
    await connection.close()
