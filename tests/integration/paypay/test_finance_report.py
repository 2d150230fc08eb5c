"""The published case of the finance report, from rows in the database to cells of the workbook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import openpyxl
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from handlers.paypay.finance_report import Month, PointReport, read_report
from handlers.paypay.finance_workbook import DETAILS, SUMMARY, workbook
from handlers.paypay.tables import PayPayCashback, PayPayReversal, PayPaySession
from hub.store.store import Store
from tests.support.running import PROJECT

CASE: dict[str, Any] = json.loads((PROJECT / "tests/data/paypay/finance_report_case.json").read_text())
JAPAN = ZoneInfo("Asia/Tokyo")
BEFORE = datetime.fromisoformat("2026-02-01T00:00:00+09:00")
LINKED = UUID(int=1_000)


def session_row() -> PayPaySession:
    return PayPaySession(
        id=LINKED,
        member_id="m-1",
        device_type="PC",
        nonce="nonce",
        reference_id="m-1",
        scopes="cashback",
        redirect_url="https://shop.example/",
        status="LINKED",
        expires_at=BEFORE,
        created_at=BEFORE,
        updated_at=BEFORE,
    )


def exchange(given: Mapping[str, Any]) -> PayPayCashback:
    at = given["succeeded_at"] if given["status"] == "SUCCESS" else None
    return PayPayCashback(
        id=UUID(int=given["id"]),
        merchant_cashback_id=f"cb-{given['id']}",
        idempotency_key=f"k-{given['id']}",
        member_id="m-1",
        session_id=LINKED,
        user_authorization_id="an-authorization",
        device_type=given["device"],
        points=given["points"],
        points_from_purchase=given["points_from_purchase"],
        points_from_promotion=given["points_from_promotion"],
        amount_jpy=given["paypay_amount_jpy"],
        wallet_type="PREPAID",
        status=given["status"],
        requested_at=BEFORE,
        succeeded_at=datetime.fromisoformat(at) if at else None,
        attempts=1,
        check_count=1,
        absent_count=0,
        created_at=BEFORE,
        updated_at=BEFORE,
    )


def reversal(given: Mapping[str, Any], number: int = 0, **more: Any) -> PayPayReversal:
    fields = {
        "id": UUID(int=10_000 + 10 * given["id"] + number),
        "merchant_cashback_reversal_id": f"rv-{given['id']}-{number}",
        "cashback_request_id": UUID(int=given["id"]),
        "idempotency_key": f"r-{number}",
        "requested_amount_jpy": given["paypay_amount_jpy"],
        "reversed_amount_jpy": given["paypay_amount_jpy"],
        "returned_points": given["reversed_points"],
        "points_to_purchase": 0,
        "points_to_promotion": given["reversed_points"],
        "reason": "a try",
        "operator": "ann",
        "status": "SUCCESS",
        "requested_at": BEFORE,
        "succeeded_at": datetime.fromisoformat(given["reversed_at"]),
        "attempts": 1,
        "check_count": 1,
        "absent_count": 0,
        "created_at": BEFORE,
        "updated_at": BEFORE,
    }
    return PayPayReversal(**{**fields, **more})


async def given_rows(store: Store, *more: object) -> None:
    async def work(conn: AsyncConnection) -> None:
        async with AsyncSession(bind=conn, join_transaction_mode="create_savepoint") as session:
            session.add(session_row())
            await session.flush()
            session.add_all([exchange(one) for one in CASE["input"]])
            await session.flush()
            session.add_all([reversal(one) for one in CASE["input"] if one["reversed_points"]])
            session.add_all(more)
            await session.commit()

    await store.write(work)


async def report_of(store: Store, month: int) -> PointReport:
    async with store.reading() as conn, AsyncSession(bind=conn) as session:
        return await read_report(session, Month(CASE["year"], month, JAPAN))


async def test_the_published_case_cell_by_cell(store: Store) -> None:
    await given_rows(store)

    report = await report_of(store, CASE["month"])

    expected = CASE["expect"]
    book = openpyxl.load_workbook(
        BytesIO(workbook(report, made_at=datetime.fromisoformat(CASE["generated_at"]))), data_only=True
    )
    assert book.sheetnames == CASE["sheets"] == [SUMMARY, DETAILS]
    summary, details = book[SUMMARY], book[DETAILS]
    assert (summary["A7"].value, summary["A8"].value) == (expected["summary"]["A7"], expected["summary"]["A8"])
    assert (summary["C7"].value, summary["C8"].value) == (150 + 250, 1_000 + 500 - 500)
    wanted = [
        (str(UUID(int=int(id))) + dash + rest, one["J"], one["K"])
        for one in expected["detail_rows"]
        for id, dash, rest in [str(one["id"]).partition("-")]
    ]
    shown = [tuple(details[f"{column}{row}"].value for column in "AJK") for row in range(2, 2 + len(wanted))]
    assert shown == wanted
    assert details["J1"].value.startswith(expected["columns"]["J"])
    assert details["K1"].value.startswith(expected["columns"]["K"])
    assert sum(j + k for _, j, k in shown) == summary["A7"].value + summary["A8"].value == 1_800


async def test_each_month_has_its_own_and_a_reversal_counts_in_the_month_of_its_success(store: Store) -> None:
    second = CASE["input"][0]
    late = datetime.fromisoformat("2026-04-01T00:00:00+09:00")
    half = {"reversed_amount_jpy": 75, "returned_points": 150, "points_to_purchase": 150, "points_to_promotion": 0}
    await given_rows(
        store,
        reversal({**second, "reversed_at": late.isoformat()}, 1, **half),
        reversal({**second, "reversed_at": late.isoformat()}, 2, status="ACCEPTED", succeeded_at=None, **half),
    )

    march, april, february = [await report_of(store, month) for month in (3, 4, 2)]

    assert (march.web_points, march.app_points) == (800, 1_000)
    assert (april.web_points, april.web_yen) == (100 - 150, 50 - 75)
    assert (february.web_points, february.app_points) == (0, 100)
