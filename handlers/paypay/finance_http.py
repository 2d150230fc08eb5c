"""``GET /admin2/ops/finance/point/``: the form, and the workbook of a month. Source: docs/providers/paypay.md."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import structlog
from aiohttp import web

from handlers.paypay.answering import described
from handlers.paypay.finance_report import Month, ReportError, read_report
from handlers.paypay.finance_workbook import MEDIA_TYPE, file_name, workbook
from handlers.paypay.settings import PayPaySettings
from hub.apidoc import Parameter
from hub.errors import RefusedCommand, UsageError
from hub.ingress.tokens import Role

if TYPE_CHECKING:
    from hub.api import HubApi

PATH: Final = "/admin2/ops/finance/point/"
TAG: Final = "PayPay: finance"
YEAR: Final = Parameter(name="year", schema={"type": "integer", "minimum": 2000, "maximum": 2999})
MONTH: Final = Parameter(name="month", schema={"type": "integer", "minimum": 1, "maximum": 12})
PAGE: Final = """<!doctype html>
<html lang="ja">
<meta charset="utf-8">
<title>ポイントデータ</title>
<h1>ポイントデータ</h1>
<form id="wanted">
  <p><label>API key <input id="key" type="password" autocomplete="off" required></label></p>
  <p><label>年 <input id="year" type="number" min="2000" max="2999" required></label>
     <label>月 <input id="month" type="number" min="1" max="12" required></label></p>
  <p><button>ダウンロード</button></p>
  <p id="problem" role="alert"></p>
</form>
<script>
const by = (id) => document.getElementById(id);
by("wanted").addEventListener("submit", async (event) => {
  event.preventDefault();
  by("problem").textContent = "";
  const answer = await fetch(`?year=${by("year").value}&month=${by("month").value}`,
    { headers: { Authorization: `Bearer ${by("key").value}` } });
  if (!answer.ok) {
    by("problem").textContent = (await answer.json()).message;
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = decodeURIComponent(answer.headers.get("Content-Disposition").split("UTF-8''")[1]);
  link.click();
  URL.revokeObjectURL(link.href);
});
</script>
"""

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypay")


def finance_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The one route; it answers with and without its slash."""
    door = FinanceApi(api)
    yield web.get(
        PATH, described(door.month, tag=TAG, reply=MEDIA_TYPE, parameters=(YEAR, MONTH), codes=("INTERNAL_ERROR",))
    )


class FinanceApi:
    """The endpoint; errors are RefusedCommand with the code of the answer."""

    def __init__(self, api: HubApi) -> None:
        self._api = api

    async def month(self, request: web.Request) -> web.Response:
        """The points that members exchanged in a month, as a workbook. For operators.

        Without `year` and `month` it answers with a small form, which asks for the API key.
        """
        if not request.query:
            return web.Response(text=PAGE, content_type="text/html", headers={"Cache-Control": "no-store"})
        holder = self._api.holder(request, Role.OPERATOR)
        settings: PayPaySettings = self._api.settings_of("paypay")
        try:
            wanted = Month(_number(request, "year"), _number(request, "month"), settings.zone)
            async with self._api.reading() as session:
                report = await read_report(session, wanted)
        except UsageError as error:
            raise RefusedCommand("INVALID_REQUEST", str(error)) from error
        except ReportError as error:
            log.error("finance_report_contradicts_itself", month=str(wanted))
            raise RefusedCommand("INTERNAL_ERROR", str(error)) from error
        now = self._api.clock.now()
        body = await asyncio.to_thread(workbook, report, made_at=now)
        log.info("finance_report_downloaded", by=holder.name, month=str(wanted), lines=len(report.lines))
        name = quote(file_name(now.astimezone(settings.zone)))
        plain = f"points_{wanted}.xlsx"
        return web.Response(
            body=body,
            content_type=MEDIA_TYPE,
            headers={"Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{name}"},
        )


def _number(request: web.Request, name: str) -> int:
    text = request.query.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise RefusedCommand("INVALID_REQUEST", f"{name}: expected a number")
    return int(text)
