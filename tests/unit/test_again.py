"""The second chance of ``make test``: a test that passes only alone is named, one that fails again fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

AGAIN = Path(__file__).parents[2] / "deploy/dev/again.py"
RUN_S_MAX = 300
WEAK = """
from pathlib import Path

def test_weak():
    seen = Path("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError("the machine is busy")

def test_sound():
    pass
"""
BROKEN = """
def test_broken():
    raise AssertionError("really")
"""


def test_what_passes_alone_is_named_and_does_not_fail_the_run(tmp_path: Path) -> None:
    code, said, report = run(tmp_path, WEAK)

    assert (code, report) == (0, "test_some.py::test_weak\n"), said
    assert "passed alone: test_some.py::test_weak" in said
    assert "1 passed" in said.partition("once more")[2], "the others need no second run"


def test_what_fails_again_fails_the_run(tmp_path: Path) -> None:
    code, said, report = run(tmp_path, WEAK + BROKEN)

    assert (code, report) == (1, "test_some.py::test_weak\n"), said
    assert "passed alone: test_some.py::test_broken" not in said


def run(folder: Path, tests: str) -> tuple[int, str, str]:
    """The exit code, what was printed, and the report, of a project with these tests."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_some.py").write_text(tests)
    done = subprocess.run(
        [sys.executable, str(AGAIN), "--report", str(folder / "report"), "-q", "test_some.py"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, (folder / "report").read_text()
