"""The four fields that the guide's webhook answered with, for those who test against it.

SePay itself counts a delivery as successful by ``success`` alone, which always comes first. Source:
docs/providers/sepay.md, "What SePay sends".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select

from handlers.sepay.bank_values import instant_text
from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables import PayBankTransaction

if TYPE_CHECKING:
    from hub.api import HubApi
    from hub.inbox.received import Accepted

WAIT_S_MAX: Final = 1.0
"""How long the answer waits for its payment; SePay waits for 30 s and wants it within 2."""
LOOK_S: Final = 0.05


async def guide_reply(api: HubApi, accepted: Accepted) -> Mapping[str, object]:
    """status, message, payment_id and processed_at; nothing unless SEPAY_WEBHOOK_REPLY is verbose.

    ``payment_id`` is null where the transfer has paid nothing, or not yet.
    """
    settings: SepaySettings = api.settings_of("sepay")
    if settings.webhook_reply != "verbose":
        return {}
    payment_id = await _payment_of(api, accepted.event_id)
    return {
        "status": "success",
        "message": "OK",
        "payment_id": str(payment_id) if payment_id else None,
        "processed_at": instant_text(api.clock.now()),
    }


async def _payment_of(api: HubApi, event_id: UUID) -> UUID | None:
    query = select(PayBankTransaction).where(PayBankTransaction.event_id == event_id)
    for _ in range(round(WAIT_S_MAX / LOOK_S)):
        async with api.reading() as session:
            row = await session.scalar(query)
        if row is not None:
            return row.payment_id
        await asyncio.sleep(LOOK_S)
    return None
