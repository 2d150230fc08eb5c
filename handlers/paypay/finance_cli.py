"""``hub report finance-points``: the workbook of a month's points."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handlers.paypay.finance_report import Month, PointReport, read_report
from handlers.paypay.finance_workbook import file_name, workbook
from handlers.paypay.settings import PayPaySettings
from hub.cli.opening import opened
from hub.cli.output import JsonOption, print_json, run, say
from hub.errors import UsageError


def finance_points(
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="The month, in PAYPAY_TIMEZONE.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default: ポイントデータ_<time>.xlsx, here.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the workbook of the points that members exchanged into PayPay balance in a month.

    Example: hub report finance-points --month 2026-10 -o points.xlsx
    """

    async def work() -> tuple[PointReport, Path]:
        async with opened(needs_secrets=False) as hub:
            settings: PayPaySettings = hub.api.settings_of("paypay")
            async with hub.api.reading() as session:
                report = await read_report(session, Month.read(month, settings.zone))
            now = hub.clock.now()
        path = output or Path(file_name(now.astimezone(settings.zone)))
        _write(path, workbook(report, made_at=now))
        return report, path

    report, path = run(work)
    if as_json:
        print_json(
            {
                "file": str(path),
                "month": str(report.month),
                "lines": len(report.lines),
                "web_points": report.web_points,
                "app_points": report.app_points,
                "web_jpy": report.web_yen,
                "app_jpy": report.app_yen,
            }
        )
        return
    say(f"{path}: {len(report.lines)} lines of {report.month}")
    say(f"  website {report.web_points:,} points, {report.web_yen:,} yen")
    say(f"  app {report.app_points:,} points, {report.app_yen:,} yen")


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
