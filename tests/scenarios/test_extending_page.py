"""The capability that docs/extending.md builds, built from the page and run as printed."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from tests.support.printed import blocks_of, daemon, free_port, run_as_printed
from tests.support.running import PROJECT

PAGE = (PROJECT / "docs/extending.md").read_text()
_FILE = re.compile(r"^```(?:python|yaml|json)\n(?:#|//) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FRAGMENT = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the files of the page and nothing else."""
    folder = tmp_path / "project"
    for name, text in _FILE.findall(PAGE):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for package in ("handlers", "schemas"):
        (folder / package / "__init__.py").touch()
    return folder


@pytest.mark.slow
def test_the_page_builds_a_capability_that_works_as_printed(project: Path, tmp_path: Path) -> None:
    environ = {
        "PATH": f"{PROJECT / '.venv/bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(project),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "HUB_HOME": str(tmp_path / "var"),
        "HUB_PORT": str(free_port()),
    }

    with daemon(project, environ, tmp_path / "hub.log"):
        run_as_printed(blocks_of(PAGE), project, environ)


def test_every_piece_of_python_on_the_page_parses() -> None:
    pieces = _FRAGMENT.findall(PAGE)

    assert len(pieces) >= 6
    for piece in pieces:
        ast.parse(piece)
