"""PayPay's pages in the console show what the reports and the files hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from io import BytesIO
from typing import Any, cast
from uuid import UUID

import openpyxl
import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from handlers.paypay.console_pages import PAGES
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables_files import PayPayTransactionFile
from hub.api import HubApi
from hub.console.offered import Mark
from hub.errors import UsageError
from hub.money import Money
from hub.store.store import Store
from tests.integration.paypay.test_finance_report import CASE, given_rows
from tests.support.clock import SettableClock

FILE = UUID(int=77)


class _Api:
    """As much of the hub as the pages ask."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = SettableClock()

    def settings_of(self, _capability: str) -> PayPaySettings:
        return PayPaySettings()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        async with self.store.reading() as conn, AsyncSession(bind=conn, expire_on_commit=False) as session:
            yield session


def _page(name: str) -> Any:
    return next(one for one in PAGES if one.name == name)


async def test_the_points_of_a_month_and_their_workbook(store: Store) -> None:
    await given_rows(store)
    api, asked = cast(HubApi, _Api(store)), {"month": f"{CASE['year']}-{CASE['month']:02}"}

    table = await _page("finance-points").table(api, asked)
    file = await _page("finance-points").files["workbook"](api, asked)

    summary = openpyxl.load_workbook(BytesIO(file.body), data_only=True).worksheets[0]
    points = [row[4] for row in table.rows]
    assert sum(points) == summary["A7"].value + summary["A8"].value == 1_800
    assert "website 800 points" in table.note
    assert file.name.endswith(".xlsx")
    with pytest.raises(UsageError):
        await _page("finance-points").table(api, {"month": "soon"})


async def test_the_files_of_some_days_with_their_sums(store: Store) -> None:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    row = PayPayTransactionFile(
        id=FILE,
        file_type="transaction_recon",
        file_name="recon.csv",
        merchant_id="m",
        day=date(2026, 3, 1),
        status="RECEIVED",
        notification_id="n-1",
        event_id=FILE,
        url_hash="0" * 64,
        updated_at=at,
        url_host="files.example",
        attempts=1,
        received_at=at,
        expires_at=at,
        row_count=12,
        found={"completed_jpy": 5_000, "refunded_jpy": 0},
    )

    async def work(conn: AsyncConnection) -> None:
        async with AsyncSession(bind=conn, join_transaction_mode="create_savepoint") as session:
            session.add(row)
            await session.commit()

    await store.write(work)
    api, page = cast(HubApi, _Api(store)), _page("transaction-files")

    whole, other = await page.table(api, {}), await page.table(api, {"since": "2026-03-02"})

    [shown] = whole.rows
    assert (shown[0].query, shown[2:6]) == (
        {"id": str(FILE)},
        [Mark("received"), 12, Money(5_000, "JPY"), Money(0, "JPY")],
    )
    assert other.rows == []
    assert "not fetched" in (await _page("transaction-file").table(api, {"id": str(FILE)})).empty
    for wrong in ({"since": "soon"}, {"status": "gone"}):
        with pytest.raises(UsageError):
            await page.table(api, wrong)
    pages = ("0", "-1", "one", "1000001", "9" * 5_000, "1" + "0" * 9)
    fetched = update(PayPayTransactionFile).values(storage_key="recon.csv", sha256="0" * 64)
    await store.write(lambda conn: conn.execute(fetched))
    for wrong in ({"id": "x"}, {"id": str(UUID(int=1))}, *({"id": str(FILE), "page": page} for page in pages)):
        with pytest.raises(UsageError):
            await _page("transaction-file").table(api, wrong)
