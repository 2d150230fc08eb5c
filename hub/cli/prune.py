"""``hub prune``: old events leave the tables for the archive. ``hub archive``: whether it still holds them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import Look, looking
from hub.cli.options import LimitOption
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.environment import Environment, as_started
from hub.errors import UsageError
from hub.retention.archive import Archive, ArchiveObject, VerifyReport
from hub.retention.opening import witness_of
from hub.retention.pruning import Pruner, PruneReport
from hub.retention.settings import RetentionSettings
from hub.routing.fields import parse_duration
from hub.settings import read_settings
from hub.storage import Storage

AGE_MIN = timedelta(hours=1)
"""Nothing younger leaves the tables: a broker may still hand it out again, and people look at it."""

archive_group = new_group("Events that were taken out of the tables.")


def prune(
    older_than: Annotated[
        str, typer.Option("--older-than", help="How long ago an event was finished (90d). Default: HUB_RETENTION_DAYS.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how many would go, and why others stay.")
    ] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="How many events at most.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Take old, finished events out of the tables and into the archive.

    They can still be read there. What is open stays, whatever its age; so do the ledger and all identities. May run
    beside a working hub, and again.

    Example: hub prune --older-than 90d --dry-run
    """

    async def work() -> PruneReport:
        settings = retention_settings()
        age = _age(older_than, settings)
        async with looking() as hub:
            witness = witness_of(hub.settings, hub.clock)
            pruner = Pruner(hub.store, Storage(settings.archive), hub.clock, witness=witness)
            return await pruner.run(age, events_max=limit, dry_run=dry_run)

    report = run(work)
    if as_json:
        print_json(_as_json(report, dry_run=dry_run))
        return
    verb = "would be archived" if dry_run else "archived"
    say(f"{report.events} events of before {report.cutoff:%Y-%m-%d %H:%M}Z {verb}, in {report.objects} objects.")
    if report.late:
        say(f"{report.late} repeats of archived events went after them.")
    if report.changed:
        say(f"{report.changed} were changed meanwhile and stay until the next run.")
    rows: list[list[object]] = [[_WHY[reason], count] for reason, count in sorted(report.kept.items())]
    if report.unsealed:
        rows.append(["not sealed yet", report.unsealed])
    if rows:
        print_table("Old, and kept", ["why", "events"], rows)


_WHY: Mapping[str, str] = {
    "open": "a delivery is not finished, or parked",
    "unsent": "a message is not sent",
    "review": "a review is open",
    "conflict": "a conflict is open",
    "call": "what a provider did is not known",
    "barrier": "others wait for it",
    "followed": "what followed from it is open",
    "recent": "something happened to it since",
    "large": "it has too many rows",
}


def _as_json(report: PruneReport, *, dry_run: bool) -> Mapping[str, Any]:
    return {
        "dry_run": dry_run,
        "cutoff": report.cutoff,
        "events": report.events,
        "late": report.late,
        "objects": report.objects,
        "bytes": report.bytes,
        "changed": report.changed,
        "kept": {**report.kept, **({"unsealed": report.unsealed} if report.unsealed else {})},
        "complete": report.is_complete,
    }


@archive_group.command("list")
def list_objects(limit: LimitOption = 50, as_json: JsonOption = False) -> None:
    """List the objects of the archive, the newest first.

    Example: hub archive list
    """

    async def work() -> list[ArchiveObject]:
        async with looking() as hub:
            return await archive_of(hub).objects(limit=limit)

    found = run(work)
    if as_json:
        print_json(found)
        return
    rows = [[one.id, one.written_at, one.events, one.bytes, one.name] for one in found]
    print_table("Objects of the archive", ["number", "written", "events", "bytes", "name"], rows)


@archive_group.command("verify")
def verify(as_json: JsonOption = False) -> None:
    """Read every object of the archive and compare it with what is noted about it; exit 1 when anything is not there.

    Example: hub archive verify
    """

    async def work() -> VerifyReport:
        async with looking() as hub:
            return await archive_of(hub).verify()

    report = run(work)
    if as_json:
        print_json(
            {"ok": not report.faults, "objects": report.objects, "events": report.events, "faults": report.faults}
        )
    else:
        if report.faults:
            print_table("Faults", ["what is wrong"], [[one] for one in report.faults])
        say(f"{report.objects} objects hold {report.events} events.")
    if report.faults:
        raise typer.Exit(EXIT_PROBLEM)


@archive_group.command("index")
def index(as_json: JsonOption = False) -> None:
    """Index keys and tags of events archived before version 0013, so that they are found; again it changes nothing.

    Example: hub archive index
    """

    async def work() -> int:
        async with looking() as hub:
            return await archive_of(hub).index()

    noted = run(work)
    if as_json:
        print_json({"names": noted})
    else:
        say(f"{noted} keys and tags are new.")


def archive_of(hub: Look) -> Archive:
    """The archive of the hub that a command looks at."""
    return Archive(hub.store, Storage(retention_settings().archive))


def retention_settings() -> RetentionSettings:
    """How long events stay and where they go, from the environment. Raises ConfigError."""
    return read_settings(RetentionSettings, Environment(as_started(os.environ)))


def _age(text: str, settings: RetentionSettings) -> timedelta:
    if not text:
        if settings.retention_days is None:
            raise UsageError("expected --older-than, or HUB_RETENTION_DAYS in the environment")
        return timedelta(days=settings.retention_days)
    try:
        age = timedelta(seconds=parse_duration(text))
    except ValueError:
        raise UsageError(f"--older-than: expected 90d or 36h, found {text!r}") from None
    if age < AGE_MIN:
        raise UsageError("--older-than: expected an hour or more")
    return age
