"""Makes a failing run smaller: leaves deeds out as long as the same rule is broken."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.run import Result, Stage, play

RUNS_MAX = 60
"""How many runs it may take: a smaller story is worth a minute, not an hour."""


def shrunk(stage: Stage, failed: Result, *, runs_max: int = RUNS_MAX) -> Result:
    """The smallest run that was found to break the same rule."""
    rule = failed.violations[0].split(":")[0]
    best, runs = failed, 0
    if failed.failed_at >= 0:
        # What would have come later cannot have mattered.
        best = replace(failed, deeds=[deed for deed in failed.deeds if deed.step <= failed.failed_at])
    size = max(1, len(best.deeds) // 2)
    while runs < runs_max:
        has_shrunk = False
        for at in range(0, len(best.deeds), size):
            fewer = [*best.deeds[:at], *best.deeds[at + size :]]
            if runs >= runs_max or not fewer:
                break
            runs += 1
            tried = play(stage, failed.seed, fewer)
            if any(one.startswith(rule) for one in tried.violations):
                best, has_shrunk = tried, True
                break
        if not has_shrunk:
            if size == 1:
                break
            size = max(1, size // 2)
    return best
