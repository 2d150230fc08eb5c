"""Run pytest in several processes; what failed is run once more alone, and what passes only then is named loudly.

    again.py [--workers N] [--report FILE] PYTEST-ARGUMENT…

A test that fails beside others and passes alone has found a machine that was too busy for it, or leans on another
test: it does not fail the run, but it is to be mended. One that fails again fails the run, and so does everything
else that pytest complains of (exit codes: pytest's own). FILE gets the tests that passed alone, one per line.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TESTS_FAILED = 1
AGAIN_MAX = 25
"""More failures than this are no accident of a busy machine."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a name of its own is made in it
MEMORY_BYTES_MIN = 2 * 1024**3


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="again.py", allow_abbrev=False)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--report", type=Path)
    options, given = parser.parse_known_args(arguments)
    # One process may have to be ended; one more, and the same test has done it twice.
    spread = ["--numprocesses", str(options.workers), "--max-worker-restart", "1"] if options.workers > 1 else []
    with tempfile.TemporaryDirectory(prefix="hub-tests-", dir=_memory()) as folder:
        # A cache of its own: it must know of this run's failures alone.
        cache = Path(folder) / "cache"
        pytest = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", f"--basetemp={folder}/made", *given]
        code = _run([*pytest, *spread])
        failed = _last_failed(cache)
        if code != TESTS_FAILED or not 0 < len(failed) <= AGAIN_MAX:
            return code
        print(f"\n== {len(failed)} failed, and run once more, one after the other", flush=True)
        code = _run([*pytest, "--last-failed", "--last-failed-no-failures", "none"])
        alone = sorted(failed - _last_failed(cache)) if code in (0, TESTS_FAILED) else []
    for name in alone:
        print(f"passed alone: {name}", flush=True)
    if options.report is not None:
        options.report.write_text("".join(f"{name}\n" for name in alone))
    return code


def _memory() -> Path | None:
    """Where a folder is in memory, if there is room: no test takes the power away, and each commit waits for a disk."""
    has_room = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN
    return MEMORY if has_room else None


def _run(command: Sequence[str]) -> int:
    return subprocess.run(command, check=False).returncode


def _last_failed(cache: Path) -> set[str]:
    file = cache / "v/cache/lastfailed"
    return set(json.loads(file.read_text())) if file.exists() else set()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
