"""Bank and books compare by whichever name the statement uses, also after its version was changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.reconciling import compare
from handlers.sepay.settings import SepaySettings
from handlers.sepay.settle import settle_transfer
from handlers.sepay.statement import StatementRow, read_page_v1, read_page_v2
from handlers.sepay.statement_api import Window
from hub.event import Verdict
from hub.jsonbody import write_json
from tests.unit.sepay.bench import settle
from tests.unit.sepay.desk import START, Desk

TEXT, AMOUNT, REFERENCE = "no code", 5_000, "FT24315123456"
SAME = {
    "account_number": "8880000001",
    "transaction_content": TEXT,
    "reference_number": REFERENCE,
    "transaction_date": bank_time_text(START),
}
UUIDS = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002")


def version_1(*numbers: int) -> Sequence[StatementRow]:
    rows = [{"id": str(one), "amount_in": f"{AMOUNT}.00", "amount_out": "0.00", **SAME} for one in numbers]
    body = write_json({"status": 200, "error": None, "transactions": rows}).encode()
    return read_page_v1(body, limit=10).rows


def version_2(*uuids: str) -> Sequence[StatementRow]:
    rows = [{"id": one, "amount_in": AMOUNT, "amount_out": 0, **SAME} for one in uuids]
    meta = {"pagination": {"has_more": False}}
    return read_page_v2(write_json({"status": "success", "data": rows, "meta": meta}).encode()).rows


async def differences(desk: Desk, rows: Sequence[StatementRow]) -> list[str]:
    settings = desk.settings
    assert isinstance(settings, SepaySettings)
    window = Window(START - timedelta(hours=1), START + timedelta(hours=1))
    async with desk.store.reading() as conn, AsyncSession(bind=conn) as session:
        found = await compare(session, rows, window, settings.receiving)
    return sorted(one.kind for one in found.differences)


async def test_what_webhooks_brought_is_found_by_version_2_and_two_that_look_alike_stay_two(desk: Desk) -> None:
    await settle(desk, TEXT, AMOUNT, id=1)
    await settle(desk, TEXT, AMOUNT, id=2)

    assert await differences(desk, version_1(1, 2)) == []
    assert await differences(desk, version_2(*UUIDS)) == []
    assert await differences(desk, version_2(UUIDS[0])) == ["not_at_bank"]
    assert await differences(desk, version_2(*UUIDS, "00000000-0000-4000-8000-000000000003")) == ["not_in_books"]


async def test_what_version_2_brought_is_found_by_version_1(desk: Desk) -> None:
    desk.verdict = Verdict.TRUSTED
    for row in version_2(*UUIDS):
        await desk.run(settle_transfer, row.body)
    desk.verdict = Verdict.VALID
    # One of the two has told its number.
    await settle(desk, TEXT, AMOUNT, id=7)

    assert await differences(desk, version_2(*UUIDS)) == []
    assert await differences(desk, version_1(7, 8)) == []
    assert await differences(desk, version_1(7)) == ["not_at_bank"]
