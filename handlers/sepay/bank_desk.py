"""What operators do with the bank statement, as functions that return data; ``bank_cli.py`` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from handlers.sepay.polling import SOURCE, missing_of, note, remember_differing, window_of
from handlers.sepay.reconciling import Reconciliation
from handlers.sepay.settings import SepaySettings
from handlers.sepay.statement_api import StatementApi, Window
from hub.deliver.publishing import encode
from hub.errors import UsageError
from hub.event import Verdict
from hub.inbox.received import Received

if TYPE_CHECKING:
    from hub.api import HubApi


@dataclass(frozen=True, slots=True)
class Polled:
    """What one look at the statement gave: transfers read, and those that the hub had not heard of."""

    window: Window
    rows_read: int
    accepted: int


async def poll_once(api: HubApi, window: Window | None = None) -> Polled:
    """Read the statement now and accept what is missing, as the schedule does; by default since the last look.

    A look at a window of one's own is not taken for the last one. Raises UsageError without SEPAY_API_TOKEN;
    StatementError, BusyError and RetryableError as the statement does.
    """
    settings: SepaySettings = api.settings_of("sepay")
    if not settings.api_token.get_secret_value():
        raise UsageError("SEPAY_API_TOKEN is not set: SePay does not show the statement without it")
    async with api.reading() as session:
        looked_at = window or await window_of(session, settings, until=api.clock.now().replace(microsecond=0))
    rows = await StatementApi(settings).rows(looked_at)
    async with api.reading() as session:
        missing = await missing_of(session, rows)
    received = [Received(source=SOURCE, body=encode(row.body), verdict=Verdict.TRUSTED) for row in missing]
    # A conflict heals nothing: a person is told of it.
    accepted = [answer for answer in await api.accept(received) if answer.kind == "event"]
    polled = Polled(looked_at, len(rows), len(accepted))
    await _remember(api, polled, [row.body for row in missing], is_latest=window is None)
    return polled


def as_fields(result: Reconciliation) -> dict[str, Any]:
    """The comparison as JSON values."""
    return asdict(result)


async def _remember(api: HubApi, polled: Polled, missing: Sequence[Mapping[str, Any]], *, is_latest: bool) -> None:
    async def work(conn: AsyncConnection) -> None:
        async with AsyncSession(bind=conn, join_transaction_mode="create_savepoint") as session:
            await remember_differing(session, missing)
            if is_latest:
                read, healed = polled.rows_read, polled.accepted
                await note(session, polled.window, api.clock.now(), rows_read=read, healed=healed)
            await session.commit()

    await api.store.write(work)
