"""What Prometheus is told of PayPal's invoices: how far they have come, and how long the oldest one waits.

Read from the tables, so it is true after a restart and the same in every process. Invoices that are over are not read:
what has become history costs nothing. Source: docs/metrics.md; docs/providers/paypal.md, "Invoices".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy import func, select

from handlers.paypal.tables_invoices import OPEN_STATES, PaypalInvoice

if TYPE_CHECKING:
    from hub.api import HubApi


async def measures(api: HubApi) -> Sequence[Metric]:
    """How invoices are going, now."""
    is_open = PaypalInvoice.state.in_(OPEN_STATES)
    is_stuck = PaypalInvoice.issue.is_not(None)
    query = (
        select(PaypalInvoice.state, is_stuck, func.count(), func.min(PaypalInvoice.created_at))
        .where(is_open)
        .group_by(PaypalInvoice.state, is_stuck)
    )
    async with api.reading() as session:
        rows = (await session.execute(query)).all()
    unfinished = GaugeMetricFamily("paypal_invoices_open", "Invoices that are not paid yet", labels=("state",))
    for state in OPEN_STATES:
        unfinished.add_metric((state,), sum(count for found, _, count, _ in rows if found == state))
    stuck = GaugeMetricFamily("paypal_invoices_stuck", "Invoices that PayPal refuses: they wait for a person")
    stuck.add_metric((), sum(count for _, waits, count, _ in rows if waits))
    age = GaugeMetricFamily("paypal_invoice_oldest_seconds", "Age of the oldest invoice that is not paid; 0 for none")
    oldest = min((since for *_, since in rows), default=None)
    age.add_metric((), max(0.0, (api.clock.now() - oldest).total_seconds()) if oldest is not None else 0.0)
    return [unfinished, stuck, age]
