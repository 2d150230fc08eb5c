"""Where the worker's time goes: py-spy looks at it from outside while it drains a backlog."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Child, tree_of

SAMPLES_PER_S = 200
SPY_S_MAX = 60.0
TOP = 20


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares of the samples: by the function that ran, by the package it belongs to, and by the hub's functions that
    were under way (their own time and that of all they call, so that these shares overlap)."""

    samples: int
    functions: Mapping[str, float]
    packages: Mapping[str, float]
    under_way: Mapping[str, float]


def start_profiling(worker: Child, *, seconds: int, to: Path) -> asyncio.Task[None]:
    """Sample the worker for so long, into a file of collapsed stacks."""
    return asyncio.create_task(_record(tree_of(worker.pid)[0], seconds, to))


async def _record(pid: int, seconds: int, to: Path) -> None:
    spy = shutil.which("py-spy") or str(Path(sys.executable).with_name("py-spy"))
    process = await asyncio.create_subprocess_exec(
        spy, "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(SAMPLES_PER_S), "--format", "raw",
        "--output", str(to), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(seconds + SPY_S_MAX):
        _, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"py-spy: {err.decode(errors='replace')[-500:]}")


def read_profile(lines: Iterable[str]) -> Profile:
    """Shares from collapsed stacks: ``outermost;…;innermost (file:line) COUNT``."""
    functions: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    under_way: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.strip().rpartition(" ")
        if not stack or not count.isdigit():
            continue
        frames = [_read_frame(frame) for frame in stack.split(";")]
        name, file = frames[-1]
        if name.endswith("select") and file.endswith("selectors.py"):
            continue  # it waits
        functions[f"{name} ({_short(file)})"] += int(count)
        packages[_package_of(file)] += int(count)
        for own in {f"{name} ({_short(file)})" for name, file in frames if _is_work_of_hub(file)}:
            under_way[own] += int(count)
    total = sum(functions.values())
    if not total:
        raise RuntimeError("the profile is empty")
    return Profile(total, _shares(functions, total), _shares(packages, total), _shares(under_way, total))


def _read_frame(frame: str) -> tuple[str, str]:
    """The function and the file of ``function (file:line)``."""
    name, _, place = frame.partition(" (")
    return name, place.rstrip(")").rpartition(":")[0]


def _shares(counts: Counter[str], total: int) -> dict[str, float]:
    return {name: count / total for name, count in counts.most_common(TOP)}


def _short(file: str) -> str:
    return "/".join(file.split("/")[-2:])


def _package_of(file: str) -> str:
    """``hub/deliver``, ``sqlalchemy``, ``asyncio``: whose code it is."""
    parts = file.split("/")
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    if parts[0] in ("hub", "benchmarks", "handlers"):
        return "/".join(parts[:2])
    for own in ("hub", "benchmarks"):
        if own in parts[:-1]:
            at = parts.index(own)
            return "/".join(parts[at : at + 2])
    return parts[0] if len(parts) > 1 and not file.startswith("/") else "python"


def _is_work_of_hub(file: str) -> bool:
    package = _package_of(file)
    # The command line is below everything.
    return package.startswith("hub/") and package not in ("hub/cli", "hub/__main__.py")


def nothing_to_trace() -> str:
    """Why a profile cannot be taken here; empty when it can."""
    if os.geteuid() != 0 and _ptrace_scope() != "0":
        return "py-spy may not look at other processes here (ptrace_scope)"
    return ""


def _ptrace_scope() -> str:
    file = Path("/proc/sys/kernel/yama/ptrace_scope")
    return file.read_text().strip() if file.exists() else "0"
