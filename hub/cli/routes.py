"""``hub routes``: the rules as a list, as a test run and as a drawing. No database and no secret is needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from hub.cli.lazy import new_group
from hub.cli.opening import load_rules
from hub.cli.output import EXIT_PROBLEM, JsonOption, print_json, print_table, run, say
from hub.errors import Problem
from hub.routing import CheckReport, ExampleResult, RouteConfig, check_rules, mermaid
from hub.wiring import Wiring

group = new_group(
    "List, test and draw the rules of routing.yaml. Variables that the file names and that are not set are replaced"
    " by a placeholder here, so that no secret is needed to check the rules."
)


@group.command("list")
def list_routes(as_json: JsonOption = False) -> None:
    """List the routes: what each takes, and what it does with it.

    Example: hub routes list
    """
    config = run(_wiring).config
    if as_json:
        print_json([_route(one) for one in config.routes])
        return
    rows = [
        [
            one.name + (" (disabled)" if one.disabled else ""),
            ", ".join(one.source) or "any",
            "\n".join(one.match),
            " ".join((one.when or "").split()),
            one.handle,
            ", ".join(one.publish),
        ]
        for one in config.routes
    ]
    print_table("Routes", ["route", "source", "takes", "when", "handler", "publishes to"], rows)


@group.command("test")
def run_examples(as_json: JsonOption = False) -> None:
    """Run the examples of routing.yaml and look for slips; exit 1 when an example fails.

    Needs no secret: a variable that is not set is replaced by a placeholder, which decides no rule.

    Example: hub routes test
    """

    async def work() -> tuple[CheckReport, int]:
        wiring = await _wiring()
        return check_rules(wiring.loaded), len(wiring.config.routes)

    report, routes = run(work)
    if as_json:
        print_json(_report(report))
    else:
        _print_report(report, routes)
    if not report.ok:
        raise typer.Exit(EXIT_PROBLEM)


@group.command("graph")
def draw_routes(as_json: JsonOption = False) -> None:
    """Print the wiring as a Mermaid flowchart, which GitHub and many editors draw.

    Example: hub routes graph > routes.mmd
    """
    drawing = mermaid(run(_wiring).config)
    if as_json:
        print_json({"mermaid": drawing})
    else:
        typer.echo(drawing, nl=False)


async def _wiring() -> Wiring:
    return load_rules()[2]


def _print_report(report: CheckReport, routes: int) -> None:
    rows = [
        ["ok" if one.ok else "FAILED", one.route, one.file, "taken" if one.expected else "left", _found(one)]
        for one in report.examples
    ]
    print_table("Examples", ["", "route", "example", "expected", "found"], rows)
    failed = [one for one in report.examples if not one.ok]
    for one in failed:
        say(f"FAILED {one.place}")
    say(f"{len(report.examples) - len(failed)} of {len(report.examples)} examples hold")
    say(f"{routes - len(report.uncovered)} of {routes} routes are shown at work by an example")
    for name in report.uncovered:
        say(f"  without an example: {name}")
    for coverage in report.coverage:
        if coverage.lacks_counterexample:
            say(f"  with a condition, but without an example that it leaves: {coverage.route}")
    for warning in report.warnings:
        say(f"warning {warning}")


def _found(one: ExampleResult) -> str:
    if one.ok:
        return "taken" if one.matched else "left"
    return {True: "taken", False: "left", None: "not decided"}[one.matched] + f": {one.detail}"


def _report(report: CheckReport) -> Mapping[str, Any]:
    return {
        "ok": report.ok,
        "examples": [
            {
                "route": one.route,
                "file": one.file,
                "expected": one.expected,
                "matched": one.matched,
                "ok": one.ok,
                "detail": one.detail,
                "line": one.place.line,
                "column": one.place.column,
            }
            for one in report.examples
        ],
        "coverage": [
            {
                "route": one.route,
                "taken": one.taken,
                "left": one.left,
                "is_covered": one.is_covered,
                "lacks_counterexample": one.lacks_counterexample,
            }
            for one in report.coverage
        ],
        "covered_share": round(report.covered_share, 4),
        "warnings": [_problem(one) for one in report.warnings],
    }


def _problem(problem: Problem) -> Mapping[str, Any]:
    return {"message": problem.message, "file": problem.file, "line": problem.line, "column": problem.column}


def _route(one: RouteConfig) -> Mapping[str, Any]:
    return {
        "name": one.name,
        "source": one.source,
        "match": one.match,
        "when": one.when,
        "handle": one.handle,
        "publish": one.publish,
        "disabled": one.disabled,
        "examples": len(one.examples),
    }
