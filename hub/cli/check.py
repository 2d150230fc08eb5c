"""``hub check``: is everything accounted for? Judged from stored data alone, without the network."""

from __future__ import annotations

import typer

from hub.cli.opening import looking
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.operate import equation
from hub.operate.equation import EquationReport, SourceCount


def check(as_json: JsonOption = False) -> None:
    """Prove that nothing was lost and that the books add up; exit 1 when anything is not as it must be.

    Counts, per source: received = duplicates + conflicts + events; every event is in one state; every balance follows
    from the moves. Changes nothing, and may run beside a working hub.

    Example: hub check
    """

    async def work() -> EquationReport:
        async with looking() as hub:
            return await equation.check(hub.store)

    report = run(work)
    if as_json:
        print_json(
            {
                "ok": report.holds,
                "received": report.received,
                "sources": report.sources,
                "states": report.states,
                "violations": report.violations,
            }
        )
    else:
        _print_report(report)
    if not report.holds:
        raise typer.Exit(EXIT_PROBLEM)


def _print_report(report: EquationReport) -> None:
    rows = [
        [*_counts(one), "ok" if one.holds else "DIFFERS", f"{one.archived} in the archive" if one.archived else ""]
        for one in report.sources
    ]
    columns = ["source", "received", "= duplicates", "+ conflicts", "+ events", "", ""]
    print_table("Sources", columns, rows, empty="nothing was received yet")
    if rows:
        print_table("Events by state", list(report.states), [list(report.states.values())])
    violations = [[one.sort, one.subject, one.expected, one.found] for one in report.violations]
    if violations:
        print_table("Violations", ["check", "subject", "expected", "found"], violations)
    else:
        say("Everything is accounted for, and the books add up.")


def _counts(one: SourceCount) -> list[object]:
    return [one.source, one.received, one.duplicates, one.conflicts, one.events]
