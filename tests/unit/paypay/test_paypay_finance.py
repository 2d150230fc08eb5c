"""The finance report: the published case cell by cell, and that it adds up for whoever opens it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from openpyxl.workbook import Workbook

from handlers.paypay.finance_report import Line, Month, PointReport, ReportError
from handlers.paypay.finance_workbook import COLUMNS, DETAILS, SUMMARY, file_name, workbook
from hub.errors import UsageError
from tests.support.running import PROJECT

CASE: dict[str, Any] = json.loads((PROJECT / "tests/data/paypay/finance_report_case.json").read_text())
JAPAN = ZoneInfo("Asia/Tokyo")
MADE_AT = datetime.fromisoformat(CASE["generated_at"])
MARCH = Month(2026, 3, JAPAN)
NOON_SHOWN = datetime.fromisoformat("2026-03-10T12:00:00")
LIBREOFFICE = shutil.which("soffice") or shutil.which("libreoffice")


def line(id: str, *, at: str = "2026-03-10T12:00:00+09:00", **more: Any) -> Line:
    given: dict[str, Any] = {
        "member_id": "m-1",
        "device": "PC",
        "status": "SUCCESS",
        "points": 100,
        "yen": 50,
        "merchant_id": f"cb-{id}",
        "paypay_id": "",
        "from_purchase": 100,
        "from_promotion": 0,
    }
    return Line(id=id, at=datetime.fromisoformat(at), **{**given, **more})


def opened(lines: Sequence[Line]) -> Workbook:
    return openpyxl.load_workbook(BytesIO(workbook(PointReport(MARCH, lines), made_at=MADE_AT)), data_only=True)


def test_the_borders_of_a_month_are_japan_s() -> None:
    december = Month.read("2025-12", JAPAN)

    assert (MARCH.begin, MARCH.end) == (
        datetime(2026, 2, 28, 15, tzinfo=UTC),
        datetime(2026, 3, 31, 15, tzinfo=UTC),
    )
    assert (december.begin, december.end, str(december)) == (
        datetime(2025, 11, 30, 15, tzinfo=UTC),
        datetime(2025, 12, 31, 15, tzinfo=UTC),
        "2025-12",
    )


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-0", "26-01", "2026-1x", "-2026-01", "99999-01"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Month.read(text, JAPAN)


def test_the_file_is_called_as_published() -> None:
    assert file_name(MADE_AT.astimezone(JAPAN)) == f"{CASE['file_stem']}.xlsx"


def test_every_cell_of_a_line_stands_in_its_column() -> None:
    wanted = line("id-1", device="SP", points=500, yen=250, paypay_id="p-1", from_purchase=200, from_promotion=300)

    sheet = opened([wanted])[DETAILS]

    assert [cell.value for cell in sheet[1]] == [title for title, _ in COLUMNS]
    assert [cell.value for cell in sheet[2]] == [
        *("id-1", "m-1", "SP", "SUCCESS", NOON_SHOWN, 500, 250, "cb-id-1", "p-1", 200, 300)
    ]
    assert [cell.value for cell in sheet[3]] == ["合計", None, None, None, None, 500, 250, None, None, 200, 300]
    assert sheet.freeze_panes == "B2"


def test_the_summary_stands_in_its_cells_with_labels_and_yen() -> None:
    sheet = opened([line("1"), line("2", device="APP", points=300, yen=300, from_purchase=300)])[SUMMARY]

    assert [(sheet[f"A{row}"].value, sheet[f"C{row}"].value) for row in (7, 8, 9)] == [
        (100, 50),
        (300, 300),
        (400, 350),
    ]
    assert "ウェブサイト" in sheet["B7"].value
    assert "アプリ" in sheet["B8"].value
    assert "2026年3月" in sheet["A2"].value


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("https://x.test")', "https://x.test"])
def test_a_text_that_looks_like_a_formula_stays_a_text(text: str) -> None:
    content = workbook(PointReport(MARCH, [line(text, member_id=text)]), made_at=MADE_AT)

    sheet = openpyxl.load_workbook(BytesIO(content))[DETAILS]
    assert [(cell.value, cell.data_type) for cell in sheet[2][:2]] == [(text, "s")] * 2
    assert sheet["A2"].hyperlink is None


def test_a_month_in_which_nothing_happened_has_zeros() -> None:
    book = opened([])

    assert [book[SUMMARY][f"A{row}"].value for row in (7, 8, 9)] == [0, 0, 0]
    assert book[DETAILS].max_row == 1


def test_figures_that_contradict_each_other_are_not_reported() -> None:
    with pytest.raises(ReportError, match="100 points by source, 90 by device"):
        PointReport(MARCH, [line("1", points=90)]).prove()


@pytest.mark.skipif(LIBREOFFICE is None, reason="LibreOffice is not on this machine")
def test_libreoffice_calculates_the_same_sums(tmp_path: Path) -> None:
    assert LIBREOFFICE is not None
    lines = [line(str(number), points=number, yen=number, from_purchase=number) for number in range(1, 101)]
    (tmp_path / "made.xlsx").write_bytes(workbook(PointReport(MARCH, lines), made_at=MADE_AT))

    # By way of its own format, so that what is read is what it has calculated.
    for source, target, folder in (("made.xlsx", "ods", "there"), ("there/made.ods", "xlsx", "back")):
        command = [LIBREOFFICE, "--headless", "--convert-to", target, "--outdir", str(tmp_path / folder)]
        subprocess.run([*command, str(tmp_path / source)], check=True, timeout=120, capture_output=True)

    book = openpyxl.load_workbook(tmp_path / "back" / "made.xlsx", data_only=True)
    assert book[SUMMARY]["A9"].value == 5_050
    assert [book[DETAILS][f"{column}102"].value for column in "FGJK"] == [5_050, 5_050, 5_050, 0]
