"""Breaks of a reconciliation for people: with their age in a table, and as a file for a spreadsheet.

A capability gives its breaks as ``BreakRow``; every ``hub reconcile`` then takes ``--csv`` and ``--xlsx`` alike.
"""

from __future__ import annotations

import csv as csv_files
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from hub.cli.output import EXIT_USAGE, fail

CsvOption = Annotated[Path | None, typer.Option("--csv", help="Also write the breaks into this file, as CSV.")]
XlsxOption = Annotated[Path | None, typer.Option("--xlsx", help="Also write the breaks into this file, as a workbook.")]
COLUMNS = ("kind", "id", "since", "age_hours", "at_provider", "in_calls", "in_books", "detail")
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")
HOUR_S = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakRow:
    """One thing on which the witnesses do not agree.

    ``since`` is when it happened, as far as one of them says. What a witness has not is empty.
    """

    kind: str
    id: str
    since: datetime | None = None
    at_provider: str = ""
    in_calls: str = ""
    in_books: str = ""
    detail: str = ""

    def age_hours(self, now: datetime) -> int | None:
        """How old it is, in whole hours."""
        return None if self.since is None else max(0, int((now - self.since).total_seconds() // HOUR_S))


def age_text(since: datetime | None, now: datetime) -> str:
    """How old a break is, as ``3d`` or ``7h``."""
    if since is None:
        return ""
    hours = max(0, int((now - since).total_seconds() // HOUR_S))
    return f"{hours // 24}d" if hours >= 48 else f"{hours}h"


def write_breaks(rows: Sequence[BreakRow], *, now: datetime, csv: Path | None, xlsx: Path | None) -> None:
    """Write the files that were asked for, also when there are no breaks; ends the command where one cannot be."""
    for file, content in ((csv, as_csv), (xlsx, as_xlsx)):
        if file is None:
            continue
        try:
            file.write_bytes(content(rows, now))
        except OSError as error:
            fail(f"{file} cannot be written: {error.strerror or error}", code=EXIT_USAGE)


def as_csv(rows: Sequence[BreakRow], now: datetime) -> bytes:
    """The breaks as CSV (RFC 4180, UTF-8 with a mark that spreadsheets know)."""
    text = io.StringIO(newline="")
    writer = csv_files.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_harmless(cell) for cell in _cells(row, now)])
    return text.getvalue().encode("utf-8-sig")


def as_xlsx(rows: Sequence[BreakRow], now: datetime) -> bytes:
    """The breaks as a workbook of one sheet."""
    import xlsxwriter  # noqa: PLC0415 - for those who make one

    made = io.BytesIO()
    # Nothing that came from outside may be taken for a formula or a link.
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(made, options) as book:
        book.set_properties({"title": "Breaks", "created": now.replace(tzinfo=None)})
        sheet = book.add_worksheet("Breaks")
        sheet.write_row(0, 0, COLUMNS, book.add_format({"bold": True}))
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(COLUMNS) - 1, 24)
        for line, row in enumerate(rows, start=1):
            for column, cell in enumerate(_cells(row, now)):
                if isinstance(cell, int):
                    sheet.write_number(line, column, cell)
                else:
                    sheet.write_string(line, column, cell)
    return made.getvalue()


def _cells(row: BreakRow, now: datetime) -> list[str | int]:
    since = row.since.isoformat().replace("+00:00", "Z") if row.since is not None else ""
    age = row.age_hours(now)
    return [
        row.kind,
        row.id,
        since,
        "" if age is None else age,
        row.at_provider,
        row.in_calls,
        row.in_books,
        row.detail,
    ]


def _harmless(cell: str | int) -> str | int:
    # A spreadsheet takes such a text for a formula; an amount may begin with a minus all the same.
    is_number = isinstance(cell, str) and cell.lstrip("-").replace(",", "").isdigit()
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_MARKS) and not is_number else cell
