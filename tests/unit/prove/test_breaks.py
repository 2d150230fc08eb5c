"""Breaks as files for a spreadsheet."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from hub.cli.breaks import COLUMNS, BreakRow, age_text, as_csv, write_breaks

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROWS = [
    BreakRow(kind="not_in_books", id="T1", since=datetime(2026, 11, 18, 11, 30, tzinfo=UTC), at_provider="5,000"),
    BreakRow(kind="another_amount", id="=cmd|x", at_provider="-7", in_books="+A1", detail='ü, "q"'),
]


def test_breaks_go_into_files_that_a_spreadsheet_cannot_mistake(tmp_path: Path) -> None:
    files = tmp_path / "breaks.csv", tmp_path / "breaks.xlsx"

    write_breaks(ROWS, now=NOW, csv=files[0], xlsx=files[1])

    header, one, other = csv.reader(io.StringIO(files[0].read_text("utf-8-sig")))
    assert tuple(header) == COLUMNS
    assert one == ["not_in_books", "T1", "2026-11-18T11:30:00Z", "72", "5,000", "", "", ""]
    assert other == ["another_amount", "'=cmd|x", "", "", "-7", "", "'+A1", 'ü, "q"']
    with zipfile.ZipFile(files[1]) as book:
        sheet = book.read("xl/worksheets/sheet1.xml").decode()
        assert "=cmd|x" in book.read("xl/sharedStrings.xml").decode()
    assert "<f>" not in sheet
    assert "<v>72</v>" in sheet


def test_a_file_that_cannot_be_written_is_an_error_of_the_call(tmp_path: Path) -> None:
    with pytest.raises(typer.Exit) as ended:
        write_breaks([], now=NOW, csv=tmp_path / "none" / "breaks.csv", xlsx=None)

    assert ended.value.exit_code == 2
    assert as_csv([], NOW).decode("utf-8-sig").strip() == ",".join(COLUMNS)


def test_an_age_is_told_in_hours_and_then_in_days() -> None:
    ages = [age_text(None, NOW), age_text(NOW, NOW), age_text(datetime(2026, 11, 20, tzinfo=UTC), NOW)]

    assert [*ages, age_text(datetime(2026, 11, 18, tzinfo=UTC), NOW)] == ["", "0h", "36h", "3d"]
