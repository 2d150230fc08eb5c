"""``hub move``: the whole database from SQLite to PostgreSQL, proven equal before it counts."""

from __future__ import annotations

from typing import Annotated

import typer

from hub.cli.lock import HomeLock
from hub.cli.opening import load_rules, open_store
from hub.cli.output import JsonOption, print_json, print_table, run, say
from hub.errors import UsageError
from hub.move.moving import MoveReport, move
from hub.settings import normal_database_url


def move_database(
    to: Annotated[
        str,
        typer.Option(
            "--to",
            envvar="HUB_MOVE_TO",
            show_envvar=True,
            help="Where to: postgresql://USER@HOST/DATABASE, with no rows in it. With a password, use the variable.",
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Carry the whole database from SQLite to PostgreSQL.

    In one transaction, committed once all is proven equal. Stop the hub first; while it runs, this refuses. The
    database on SQLite is not changed.

    Example: hub move --to postgresql://hub@db.internal/hub
    """
    report = run(lambda: _move(to, is_quiet=as_json))
    if as_json:
        print_json(
            {
                "rows": report.rows,
                "tables": report.tables,
                "received": report.report.received,
                "violations": report.report.violations,
                "queued": report.queued,
            }
        )
        return
    print_table("Moved", ["table", "rows", "sha256"], [[one.name, one.rows, one.sha256[:16]] for one in report.tables])
    say(f"{report.rows} rows in {len(report.tables)} tables are the same on both sides, and so is what hub check says.")
    if report.queued:
        say(f"{report.queued} messages wait in the embedded queues; with a broker nobody reads them there.")
    say("Now set HUB_DATABASE_URL to the new database and start the hub. Never start it on the old one again.")


async def _move(to: str, *, is_quiet: bool) -> MoveReport:
    if not to:
        raise UsageError("expected --to or HUB_MOVE_TO, the database to move to")
    try:
        target = normal_database_url(to)
    except ValueError as error:
        raise UsageError(f"--to: {error}") from None
    _, settings, wiring = load_rules()
    store = open_store(settings)
    lock = HomeLock(settings.home, store.dialect)
    lock.take()
    try:
        return await move(store, target, wiring.capabilities.members, said=_nothing if is_quiet else _progress)
    finally:
        lock.release()
        await store.close()


def _progress(line: str) -> None:
    typer.echo(line, err=True)


def _nothing(_line: str) -> None:
    pass
