"""What a long part has found is on file before it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import counts


def test_each_failure_is_on_file_as_soon_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(counts.VARIABLE, str(tmp_path / "crash-points"))

    counts.tell_failure("test_a", "lost an event")
    counts.tell_failure("test_b", "posted twice")

    assert (tmp_path / "crash-points" / "failures.txt").read_text() == (
        "== test_a\nlost an event\n== test_b\nposted twice\n"
    )


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(counts.VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)

    counts.tell_failure("test_a", "lost an event")

    assert list(tmp_path.iterdir()) == []
