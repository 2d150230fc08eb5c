"""``hub doctor sepay``: whether money can come in, and whether the bank statement can be read.

Source: docs/providers/sepay.md, "Configuration" and "Operators".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.settings import SepaySettings
from handlers.sepay.statement import StatementError
from handlers.sepay.statement_api import StatementApi, Window
from handlers.sepay.tables_polls import STATEMENT, PayStatementPoll
from handlers.sepay.vietqr import BINS
from hub.capability import CheckResult
from hub.errors import RetryableError

if TYPE_CHECKING:
    from hub.api import HubApi

LOOK_BACK: Final = timedelta(minutes=15)
POLL_LATE: Final = timedelta(hours=1)
"""Without a look at the statement for this long, lost webhooks stay lost."""


async def checks(api: HubApi) -> Sequence[CheckResult]:
    """Every finding; the statement is really asked for."""
    settings: SepaySettings = api.settings_of("sepay")
    return [
        *_accounts(settings),
        _proof(settings),
        await _statement(api, settings),
        await _poll(api, settings),
    ]


def _accounts(settings: SepaySettings) -> Iterator[CheckResult]:
    accounts = settings.receiving.listed
    if not accounts:
        yield CheckResult("receiving accounts", ok=False, detail="none: set SEPAY_ACCOUNTS")
    for account in accounts:
        known = _has_number(account)
        detail = f"{account.bank_code} {account.payee_number}"
        yield CheckResult(
            "receiving account",
            ok=known,
            detail=detail if known else f"{detail}: the bank's number is not known, set bin or its QR cannot be drawn",
        )


def _has_number(account: ReceivingAccount) -> bool:
    return bool(account.bin or account.qr_bank.upper() in BINS or account.bank_code in BINS)


def _proof(settings: SepaySettings) -> CheckResult:
    given = {
        "apikey": settings.webhook_api_key,
        "hmac": settings.webhook_secret,
        "oauth2": settings.oauth_client_secret,
    }
    secrets = [name for name, secret in given.items() if secret.get_secret_value()]
    detail = f"secrets are set for {', '.join(secrets)}; routing.yaml says which of them counts"
    return CheckResult("proof of webhooks", ok=bool(secrets), detail=detail if secrets else "no secret is set")


async def _statement(api: HubApi, settings: SepaySettings) -> CheckResult:
    name = "bank statement"
    if not settings.api_token.get_secret_value():
        return CheckResult(name, ok=False, detail="SEPAY_API_TOKEN is not set: lost webhooks stay lost")
    now = api.clock.now().replace(microsecond=0)
    try:
        rows = await StatementApi(settings).rows(Window(now - LOOK_BACK, now))
    except (StatementError, RetryableError) as error:
        return CheckResult(name, ok=False, detail=f"{settings.api_url}: {error}")
    return CheckResult(name, ok=True, detail=f"{settings.api_url}: {len(rows)} transfers in a quarter of an hour")


async def _poll(api: HubApi, settings: SepaySettings) -> CheckResult:
    async with api.reading() as session:
        last = await session.get(PayStatementPoll, STATEMENT)
    if last is None:
        detail = "never: is the hub running with schedules, and routing.yaml's poll-sepay-statement in place?"
        return CheckResult("last poll", ok=not settings.api_token.get_secret_value(), detail=detail)
    ago = api.clock.now() - last.polled_at
    detail = f"{ago.total_seconds() / 60:.0f} min ago; {last.healed} lost webhooks healed so far"
    return CheckResult("last poll", ok=ago <= POLL_LATE, detail=detail)
