"""The record's first reader: a table that operators ask. Source: docs/providers/paypal.md, "The record"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from handlers.paypal.tables import PaypalEventRecord
from hub.capability import handler
from hub.store.upserts import insert_for
from schemas.paypal import EventRecorded

if TYPE_CHECKING:
    from hub.api import HubApi
    from hub.deliver.context import Context

LINES_MAX: Final = 1_000


@handler
async def keep_record(recorded: EventRecorded, ctx: Context) -> None:
    """Keep it as a row, once, however often it is read from the queue."""
    row = recorded.model_dump()
    new = insert_for(ctx.session.get_bind().dialect.name, PaypalEventRecord).on_conflict_do_nothing()
    await ctx.session.execute(new, [row])
    ctx.conclude("kept")


async def list_records(
    api: HubApi,
    *,
    type_: str | None = None,
    verdict: str | None = None,
    subscription_id: str | None = None,
    event_id: str | None = None,
    limit: int = 50,
) -> Sequence[PaypalEventRecord]:
    """Records, newest first."""
    wanted = {"event_type": type_, "verdict": verdict, "subscription_id": subscription_id, "event_id": event_id}
    query = select(PaypalEventRecord).order_by(PaypalEventRecord.received_at.desc(), PaypalEventRecord.record_id)
    query = query.filter_by(**{name: value for name, value in wanted.items() if value is not None})
    async with api.reading() as session:
        return list(await session.scalars(query.limit(min(limit, LINES_MAX))))
