"""What ``hub doctor paypay`` says of transaction files: where from, where to, and what waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from handlers.paypay.files import allowed_by
from handlers.paypay.files_store import FileStore
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables_files import FileStatus, PayPayTransactionFile
from hub.capability import CheckResult
from hub.storage import StorageError

if TYPE_CHECKING:
    from hub.api import HubApi

KEPT_BY_PAYPAY: Final = timedelta(days=7)
"""So long PayPay can send a notice again."""


async def file_checks(api: HubApi) -> Sequence[CheckResult]:
    """Every finding; the storage is really asked."""
    settings: PayPaySettings = api.settings_of("paypay")
    return [_hosts(settings), await _storage(settings), await _lost(api)]


def _hosts(settings: PayPaySettings) -> CheckResult:
    allowed = allowed_by(settings)
    listed = ", ".join(allowed.hosts) or ("PayPay as it is played here" if allowed.own else "")
    words = listed or "PAYPAY_FILE_HOSTS lists no host: nothing is fetched"
    return CheckResult("transaction files", ok=bool(listed), detail=words)


async def _storage(settings: PayPaySettings) -> CheckResult:
    try:
        await FileStore(settings).look()
    except StorageError as error:
        return CheckResult("file storage", ok=False, detail=f"{settings.store}: {error}")
    return CheckResult("file storage", ok=True, detail=settings.store)


async def _lost(api: HubApi) -> CheckResult:
    table = PayPayTransactionFile
    lost = select(func.count()).where(
        table.status.in_((FileStatus.FAILED, FileStatus.EXPIRED)),
        table.received_at > api.clock.now() - KEPT_BY_PAYPAY,
    )
    async with api.reading() as session:
        count = await session.scalar(lost) or 0
    words = f"{count} of a week are not read: hub paypay files list" if count else "none was lost in a week"
    return CheckResult("files of a week", ok=not count, detail=words)
