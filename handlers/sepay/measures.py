"""What Prometheus is told of payments: what waits, what was healed, which intents were paid.

Read from the tables, so it is true after a restart and the same in every process. Only open rows and a day's intents
are read: what has become history costs nothing. Source: docs/metrics.md; docs/providers/sepay.md, "Watching it".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import Select, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.books import SUSPENSE
from handlers.sepay.polling import SOURCE
from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables import PayBankTransaction, PayPaymentIntent
from handlers.sepay.tables_polls import STATEMENT, PayStatementPoll
from hub.ledger.read import find_account
from hub.store import tables as t

if TYPE_CHECKING:
    from hub.api import HubApi

RECENT: Final = timedelta(hours=24)
VIOLATION: Final = "ledger_violation"


async def measures(api: HubApi) -> Sequence[Metric]:
    """How payments are going, now."""
    settings: SepaySettings = api.settings_of("sepay")
    now = api.clock.now()
    async with api.reading() as session:
        found = [*await _intents(session, now), *await _unprocessed(session, now), *await _desk(session)]
        found += await _statement(session, now)
    polling = GaugeMetricFamily("sepay_statement_polling", "1 where SEPAY_API_TOKEN lets the statement be read")
    polling.add_metric((), float(bool(settings.api_token.get_secret_value())))
    return [*found, polling]


async def _intents(session: AsyncSession, now: datetime) -> Sequence[Metric]:
    since = now - RECENT
    query = (
        select(PayPaymentIntent.purpose, PayPaymentIntent.status, func.count())
        # An id begins with its time: so a day is read from the primary key alone.
        .where(PayPaymentIntent.intent_id >= _first_id(since), PayPaymentIntent.created_at >= since)
        .group_by(PayPaymentIntent.purpose, PayPaymentIntent.status)
    )
    intents = GaugeMetricFamily(
        "sepay_intents", "Payment intents created in the last 24 hours", labels=("purpose", "status")
    )
    for purpose, status, count in await session.execute(query):
        intents.add_metric((purpose, status), count)
    return [intents]


async def _unprocessed(session: AsyncSession, now: datetime) -> Sequence[Metric]:
    """Transfers that are accepted and whose delivery is not finished, parked ones among them."""
    # Each part as one partial index holds it.
    off_chain, behind = t.in_state(t.deliveries, *t.OFF_CHAIN_STATES), t.in_state(t.deliveries, *t.BEHIND_STATES)
    parts = [
        _open_ones(t.in_state(t.deliveries, "ready")),
        _open_ones(off_chain),
        _open_ones(behind, t.deliveries.c.state.in_(("calling", "retrying"))),
    ]
    found = union_all(*parts).subquery()
    count, oldest = (await session.execute(select(func.count(), func.min(found.c.received_at)))).one()
    events = GaugeMetricFamily("sepay_unprocessed_events", "Transfers that are accepted and not processed")
    events.add_metric((), count)
    age = GaugeMetricFamily("sepay_unprocessed_oldest_seconds", "Age of the oldest of them; 0 where there is none")
    age.add_metric((), max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0)
    return [events, age]


def _open_ones(*conditions: Any) -> Select[Any]:
    return (
        select(t.inbox.c.received_at)
        .join(t.deliveries, t.deliveries.c.event_seq == t.inbox.c.seq)
        .where(*conditions, t.inbox.c.source == SOURCE)
    )


async def _desk(session: AsyncSession) -> Sequence[Metric]:
    """What waits for a person."""
    held = select(func.count()).where(PayBankTransaction.in_suspense)
    transfers = GaugeMetricFamily("sepay_transfers_in_suspense", "Transfers whose money nobody could place yet")
    transfers.add_metric((), await session.scalar(held) or 0)
    account = await find_account(await session.connection(), SUSPENSE.code)
    money = GaugeMetricFamily("sepay_suspense_dong", "Money in suspense")
    money.add_metric((), account.balance.amount_minor if account is not None else 0)
    reviews = select(func.count()).where(t.in_state(t.reviews, "open"), t.reviews.c.outcome == VIOLATION)
    violations = GaugeMetricFamily(
        "sepay_ledger_violations", "Checks that found wallets against the rules of their ledger and are not resolved"
    )
    violations.add_metric((), await session.scalar(reviews) or 0)
    return [transfers, money, violations]


async def _statement(session: AsyncSession, now: datetime) -> Sequence[Metric]:
    """How far behind the bank statement the books may be; nothing where it was never read."""
    last = await session.get(PayStatementPoll, STATEMENT)
    if last is None:
        return []
    age = GaugeMetricFamily("sepay_statement_age_seconds", "Time since the bank statement was last read to its end")
    age.add_metric((), max(0.0, (now - last.polled_at).total_seconds()))
    rows = CounterMetricFamily("sepay_statement_rows", "Rows read from the bank statement")
    rows.add_metric((), last.rows_read)
    healed = CounterMetricFamily("sepay_statement_healed", "Rows of the statement that no webhook had brought")
    healed.add_metric((), last.healed)
    return [age, rows, healed]


def _first_id(since: datetime) -> UUID:
    """Not above any id that was made from then on (RFC 9562, version 7)."""
    return UUID(int=int(since.timestamp() * 1000) << 80)
