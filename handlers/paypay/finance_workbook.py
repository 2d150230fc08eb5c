"""The report of a month's points as a workbook, for people in finance.

Sheet 集計: A7 the points of the website, A8 those of the app. Sheet 詳細記録: a line each, J the points from
purchases, K those from promotions. Sums of lines are formulas, so that a filter or a correction shows in them. Source:
docs/providers/paypay.md, "Finance report".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from typing import Any, Final

from handlers.paypay.finance_report import Line, PointReport

SUMMARY: Final = "集計"
DETAILS: Final = "詳細記録"
STEM: Final = "ポイントデータ"
MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
TOTAL: Final = "合計"
COLUMNS: Final[Sequence[tuple[str, int]]] = (
    ("申請ID", 40),
    ("会員ID", 16),
    ("デバイス", 9),
    ("ステータス", 11),
    ("成功日時 (JST)", 20),
    ("ポイント", 12),
    ("付与額 (円)", 12),
    ("merchantCashbackId", 40),
    ("cashbackId", 24),
    ("purchase.exchange_use_points\n購入ポイント", 20),
    ("promotion.exchange_use_points\n会員登録ポイント", 20),
)
_NUMBER: Final = "#,##0;[Red]-#,##0;0"
_TIME: Final = "yyyy-mm-dd hh:mm:ss"
_POINTS, _YEN, _PURCHASE, _PROMOTION = 5, 6, 9, 10
_SUMMED: Final = (_POINTS, _YEN, _PURCHASE, _PROMOTION)


def file_name(now: datetime) -> str:
    """``ポイントデータ_20260402090807.xlsx``; ``now`` in the time zone of the report."""
    return f"{STEM}_{now:%Y%m%d%H%M%S}.xlsx"


def workbook(report: PointReport, *, made_at: datetime) -> bytes:
    """The workbook as a file. ``made_at`` is aware."""
    import xlsxwriter  # noqa: PLC0415 - for those who make one

    made = BytesIO()
    # Nothing that came from outside may be taken for a formula or a link.
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(made, options) as book:
        book.set_properties({"title": f"{STEM} {report.month}", "created": made_at.replace(tzinfo=None)})
        book.set_calc_mode("auto")
        _summary(book, report, made_at)
        _details(book, report)
    return made.getvalue()


def _summary(book: Any, report: PointReport, made_at: datetime) -> None:
    sheet = book.add_worksheet(SUMMARY)
    title, head = book.add_format({"bold": True, "font_size": 14}), _head(book)
    number = book.add_format({"num_format": _NUMBER})
    total = book.add_format({"num_format": _NUMBER, "bold": True, "top": 1})
    bold = book.add_format({"bold": True, "top": 1})
    zone = report.month.zone
    sheet.set_column(0, 0, 16)
    sheet.set_column(1, 1, 44)
    sheet.set_column(2, 2, 16)
    sheet.write_string(0, 0, "PayPayポイント交換 集計", title)
    sheet.write_string(1, 0, f"対象月: {report.month.year}年{report.month.month}月 ({zone.key})")
    sheet.write_string(2, 0, f"作成日時: {made_at.astimezone(zone):%Y-%m-%d %H:%M:%S}")
    sheet.write_string(3, 0, "取消は取消が成功した月にマイナスで計上")
    for column, text in enumerate(("ポイント", "区分", "付与額 (円)")):
        sheet.write_string(5, column, text, head)
    for row, points, label, yen in (
        (6, report.web_points, "ウェブサイト (PC・SP) で交換されたポイント", report.web_yen),
        (7, report.app_points, "アプリ (APP) で交換されたポイント", report.app_yen),
    ):
        sheet.write_number(row, 0, points, number)
        sheet.write_string(row, 1, label)
        sheet.write_number(row, 2, yen, number)
    sheet.write_formula(8, 0, "=SUM(A7:A8)", total, report.web_points + report.app_points)
    sheet.write_string(8, 1, TOTAL, bold)
    sheet.write_formula(8, 2, "=SUM(C7:C8)", total, report.web_yen + report.app_yen)
    sheet.set_portrait()
    sheet.fit_to_pages(1, 1)


def _details(book: Any, report: PointReport) -> None:
    sheet = book.add_worksheet(DETAILS)
    head, number = _head(book), book.add_format({"num_format": _NUMBER})
    time, total = (
        book.add_format({"num_format": _TIME}),
        book.add_format({"num_format": _NUMBER, "bold": True, "top": 1}),
    )
    for column, (text, width) in enumerate(COLUMNS):
        sheet.set_column(column, column, width)
        sheet.write_string(0, column, text, head)
    sheet.set_row(0, 32)
    sheet.freeze_panes(1, 1)
    for row, line in enumerate(report.lines, 1):
        _line(sheet, row, line, report, number=number, time=time)
    last = len(report.lines)
    if last:
        sheet.autofilter(0, 0, last, len(COLUMNS) - 1)
        _totals(sheet, last, report, total)
    sheet.set_landscape()
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)


def _line(sheet: Any, row: int, line: Line, report: PointReport, *, number: Any, time: Any) -> None:
    for column, text in enumerate((line.id, line.member_id, line.device, line.status)):
        sheet.write_string(row, column, text)
    # A sheet knows no time zones: what it shows is the time in the report's.
    sheet.write_datetime(row, 4, line.at.astimezone(report.month.zone).replace(tzinfo=None), time)
    sheet.write_number(row, _POINTS, line.points, number)
    sheet.write_number(row, _YEN, line.yen, number)
    sheet.write_string(row, 7, line.merchant_id)
    sheet.write_string(row, 8, line.paypay_id)
    sheet.write_number(row, _PURCHASE, line.from_purchase, number)
    sheet.write_number(row, _PROMOTION, line.from_promotion, number)


def _totals(sheet: Any, last: int, report: PointReport, total: Any) -> None:
    sums = {
        _POINTS: sum(line.points for line in report.lines),
        _YEN: sum(line.yen for line in report.lines),
        _PURCHASE: sum(line.from_purchase for line in report.lines),
        _PROMOTION: sum(line.from_promotion for line in report.lines),
    }
    for column in range(len(COLUMNS)):
        sheet.write_blank(last + 1, column, None, total)
    sheet.write_string(last + 1, 0, TOTAL, total)
    for column in _SUMMED:
        letter = "ABCDEFGHIJK"[column]
        sheet.write_formula(last + 1, column, f"=SUM({letter}2:{letter}{last + 1})", total, sums[column])


def _head(book: Any) -> Any:
    return book.add_format(
        {"bold": True, "bg_color": "#D9E1F2", "bottom": 1, "text_wrap": True, "valign": "vcenter", "align": "center"}
    )
