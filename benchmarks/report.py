"""The tables for people, and the document that is kept."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.goals import Medians, Verdict, verdicts
from benchmarks.plan import Plan
from benchmarks.profile import Profile
from benchmarks.turns import Results

WIDTH = 180
PACKAGES = ("faststream", "aio-pika", "aiormq", "sqlalchemy", "asyncpg", "aiohttp", "aiosqlite", "pydantic")
QUICK_WARNING = "A short run: it shows that everything works. Its figures say nothing."
FUNCTIONS_SHOWN = 20
RATIO_TO: Mapping[str, str] = {
    "queue": "naive",
    "trouble": "plain",
    "webhook": "webhook naive",
    "sqlite": "sqlite naive",
    "growth": "past 0",
    "rules": "rules 10",
}


def show(results: Results, *, is_quick: bool) -> None:
    """Print everything."""
    console = Console(width=WIDTH, highlight=False)
    if is_quick:
        console.print(QUICK_WARNING)
    for scenario in dict.fromkeys(results.scenario_of.values()):
        console.print(scenario_table(results, scenario), "")
    for what, profile in results.profiles.items():
        console.print(profile_table(what, profile), "")
    console.print(goal_table(verdicts(results.figures)), "")
    for remark in results.remarks:
        console.print(f"remark: {remark}", soft_wrap=True)
    for failure in results.failures:
        console.print(f"FAILED: {failure}", soft_wrap=True)
    if is_quick:
        console.print(QUICK_WARNING)


def scenario_table(results: Results, scenario: str) -> Table:
    """Medians of one scenario's contestants."""
    names = [name for name, own in results.scenario_of.items() if own == scenario]
    medians, base = Medians(results.figures), RATIO_TO.get(scenario, "")
    # Only those that say something: how often a batch was halved is zero, or worth a column.
    extras = sorted(
        {value for name in names for one in results.figures[name] for value, number in one.values.items() if number}
        - {"seconds"}
    )
    table = _table(f"{scenario} (medians; CPU in seconds per 1,000 events)", "contestant")
    columns = ("events/s", "spread", "ratio", "worker", "database", "broker", "CPU in all", "peak MB", *extras)
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name in names:
        ratio = medians.ratio(name, base, "per_s") if base in names else None
        table.add_row(
            name,
            f"{medians.of(name, 'per_s'):,.0f}",
            f"{medians.spread(name):.2f}",
            _number(ratio),
            *(
                _number(medians.of(name, field))
                for field in ("worker_cpu_s", "database_cpu_s", "broker_cpu_s", "cpu_s")
            ),
            f"{medians.of(name, 'peak_mb'):.0f}",
            *(_number(_of(medians, name, value)) for value in extras),
        )
    return table


def goal_table(found: list[Verdict]) -> Table:
    """Every goal beside its measured ratio."""
    table = _table("goals (ratios within this run)", "goal")
    for column in ("measured", "must", "", "want", "of the wish"):
        table.add_column(column, justify="right")
    for verdict in found:
        goal, sign = verdict.goal, "≤" if verdict.goal.is_ceiling else "≥"
        table.add_row(
            f"{goal.number}. {goal.text}",
            "not measured" if verdict.measured is None else _number(verdict.measured),
            "" if goal.must is None else f"{sign} {goal.must:g}",
            _word(verdict),
            "" if goal.want is None else f"{sign} {goal.want:g}",
            _distance(verdict),
        )
    return table


def profile_table(what: str, profile: Profile) -> Table:
    """The functions and the packages in which the worker was found most often."""
    table = _table(f"profile of the worker while it {what} ({profile.samples} samples)", "function that ran")
    for column in ("share", "its package", "share", "the hub's functions under way", "share"):
        table.add_column(column, justify="right" if column == "share" else "left", no_wrap=True)
    lists = [list(shares.items()) for shares in (profile.functions, profile.packages, profile.under_way)]
    for number in range(min(FUNCTIONS_SHOWN, max(map(len, lists)))):
        table.add_row(*(cell for shares in lists for cell in _pair(shares, number)))
    return table


def document(results: Results, plan: Plan, *, is_quick: bool, database: str) -> dict[str, object]:
    """The figures with what they depend on."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "is_quick": is_quick,
        "commit": _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain") else ""),
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "memory_mb": _memory_mb()},
        "versions": {
            "python": platform.python_version(),
            "postgresql": database,
            **{name: version(name) for name in PACKAGES},
        },
        "plan": asdict(plan),
        "goals": [
            {
                "number": verdict.goal.number,
                "goal": verdict.goal.text,
                "measured": verdict.measured,
                "must": verdict.goal.must,
                "holds": verdict.holds,
                "want": verdict.goal.want,
                "share_of_want": verdict.share_of_want,
            }
            for verdict in verdicts(results.figures)
        ],
        "figures": {name: [one.as_json() for one in figures] for name, figures in results.figures.items()},
        "profiles": {what: asdict(profile) for what, profile in results.profiles.items()},
        "remarks": results.remarks,
        "failures": results.failures,
    }


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", box=None)
    table.add_column(first, no_wrap=True)
    return table


def _word(verdict: Verdict) -> str:
    if verdict.holds is None:
        return ""
    return "holds" if verdict.holds else "DOES NOT HOLD"


def _distance(verdict: Verdict) -> str:
    if verdict.is_as_wanted is None:
        return ""
    share = verdict.share_of_want
    return "reached" if verdict.is_as_wanted else "" if share is None else f"{share:.0%}"


def _of(medians: Medians, contestant: str, name: str) -> float | None:
    try:
        return medians.of(contestant, name)
    except KeyError:
        return None


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _pair(shares: list[tuple[str, float]], number: int) -> Iterator[str]:
    name, share = shares[number] if number < len(shares) else ("", 0.0)
    yield name
    yield f"{share:.1%}" if name else ""


def _git(*arguments: str) -> str:
    ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return ran.stdout.strip()


def _memory_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)
