"""Asking PayPay where a member links an account: the one call that is made while a caller waits.

No money depends on it, so it is not on record as a call; the session's row says what came of it. It takes its turn
under the bounds that all calls to PayPay share.
Source: docs/providers/paypay.md, "Linking an account".
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Final

import structlog
from pydantic import ValidationError

from handlers.paypay.client import PayPay
from handlers.paypay.outcomes import Facts, Settled
from handlers.paypay.tables import APP
from handlers.paypay.wire import LinkAccount
from hub.errors import RetryableError
from hub.flow.turn import Turn
from schemas.paypay_exchange import SessionStarted

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypay")

PROVIDER: Final = "paypay"
LINK_S: Final = 20.0
"""Connecting, a turn and PayPay's own ten seconds."""
ADDRESS: Final = "linkQRCodeURL"


async def link_address(
    turn: AbstractAsyncContextManager[Turn], client: PayPay, started: SessionStarted
) -> tuple[str | None, str]:
    """The address of PayPay's page for this session; None with a word why when it gave none."""
    try:
        ask = LinkAccount(
            scopes=started.scopes,
            nonce=started.nonce,
            redirect_url=started.redirect_url,
            reference_id=started.member_id,
            redirect_type="APP_DEEP_LINK" if started.device_type == APP else "WEB_LINK",
        )
        async with asyncio.timeout(LINK_S):
            async with turn as taken:
                try:
                    outcome = await client.link_account(ask)
                except RetryableError as error:
                    taken.saw(error)
                    raise
                taken.saw(outcome)
    except (RetryableError, TimeoutError, ValidationError) as error:
        log.warning("paypay_link_failed", error=type(error).__name__)
        return None, type(error).__name__
    address = Facts.of(outcome).data.get(ADDRESS)
    if isinstance(outcome, Settled) and isinstance(address, str):
        return address, ""
    code = Facts.of(outcome).code or type(outcome).__name__
    log.warning("paypay_link_refused", code=code)
    return None, code
