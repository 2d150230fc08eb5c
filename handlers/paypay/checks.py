"""``hub doctor paypay``: whether PayPay can be asked, tokens read, and what waits is being looked at.

Source: docs/providers/paypay.md, "Configuration" and "What an operator does".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from handlers.paypay.client import CALL_S, client_of
from handlers.paypay.files_checks import file_checks
from handlers.paypay.outcomes import Facts
from handlers.paypay.payment_words import FINAL
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.states import Status
from handlers.paypay.tables import PayPayCashback, PayPayReversal
from handlers.paypay.tables_payments import PayPayPayment
from handlers.paypay.tokens import token_key
from handlers.paypay.wire import ReadCashback
from hub.capability import CheckResult
from hub.errors import RetryableError

if TYPE_CHECKING:
    from hub.api import HubApi

LATE: Final = timedelta(minutes=15)
"""What should have been looked at so long ago shows that no sweep runs."""
NOBODYS_ID: Final = "hub-doctor"


async def checks(api: HubApi) -> Sequence[CheckResult]:
    """Every finding; PayPay is really asked, for an id that it does not know."""
    settings: PayPaySettings = api.settings_of("paypay")
    return [
        *_settings(settings),
        await _answers(settings),
        *await _waiting(api),
        await payments_late(api),
        *await file_checks(api),
    ]


def _settings(settings: PayPaySettings) -> Iterator[CheckResult]:
    if not settings.is_set_up:
        yield CheckResult("key", ok=False, detail="set PAYPAY_API_KEY and PAYPAY_API_SECRET")
        return
    yield CheckResult("key", ok=True, detail=f"{settings.mode}, merchant {settings.merchant or 'of the key'}")
    is_read = token_key(settings.api_secret.get_secret_value()) is not None
    yield CheckResult("tokens", ok=is_read, detail="can be read" if is_read else "PAYPAY_API_SECRET is no base64")


async def _answers(settings: PayPaySettings) -> CheckResult:
    name = "PayPay"
    if not settings.is_set_up:
        return CheckResult(name, ok=False, detail="not asked")
    try:
        async with asyncio.timeout(CALL_S):
            outcome = await client_of(settings).read_cashback(ReadCashback(merchant_cashback_id=NOBODYS_ID), NOBODYS_ID)
    except (RetryableError, TimeoutError) as error:
        return CheckResult(name, ok=False, detail=str(error) or "no answer")
    facts = Facts.of(outcome)
    return CheckResult(name, ok=bool(facts.code), detail=facts.code or "an answer that says nothing")


async def _waiting(api: HubApi) -> Sequence[CheckResult]:
    """What waits for a person, and whether the sweep comes by."""
    since = api.clock.now() - LATE
    manual = late = 0
    async with api.reading() as session:
        for table in (PayPayCashback, PayPayReversal):
            counted = select(func.count()).select_from(table)
            manual += await session.scalar(counted.where(table.status == Status.MANUAL)) or 0
            due = counted.where(table.status.in_(tuple(Status)), table.next_check_at < since)
            late += await session.scalar(due) or 0
    words = "nothing" if not manual else f"{manual}: hub paypay cashback list --status MANUAL, and reversals list"
    comes = "nothing is late" if not late else f"{late} are late: is the hub running with schedules?"
    return [
        CheckResult("for a person", ok=not manual, detail=words),
        CheckResult("sweep", ok=not late, detail=comes),
    ]


async def payments_late(api: HubApi) -> CheckResult:
    """Payments whose next look should have been taken long ago: no sweep looks at them, only their own timer."""
    late = select(func.count()).where(
        PayPayPayment.status.not_in(tuple(FINAL)), PayPayPayment.next_look_at < api.clock.now() - LATE
    )
    async with api.reading() as session:
        count = await session.scalar(late) or 0
    words = f"{count} wait for a look: hub parked list, hub providers list; hub paypay payments look ID takes it now"
    return CheckResult("payments", ok=not count, detail=words if count else "nothing is late")
