"""Every morning: did yesterday's files come, and do they, the calls and the books agree?

Source: docs/providers/paypay.md, "Reconciliation".
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from handlers.paypay.files_layout import JAPAN
from handlers.paypay.files_reading import READ_S_MAX
from handlers.paypay.reconciling import compare_days
from handlers.paypay.witnesses import Days
from hub.capability import calls
from hub.event import Event
from hub.flow.priority import Priority

if TYPE_CHECKING:
    from hub.deliver.context import Context


@calls("paypay-files", timeout_s=READ_S_MAX, priority=Priority.SWEEP)
async def check_day(event: Event, ctx: Context) -> None:
    """Compare yesterday, and ask a person where anything differs. Raises StorageError, to be tried again."""
    yesterday = ctx.event.received_at.astimezone(JAPAN).date() - timedelta(days=1)
    result = await compare_days(ctx.reading, ctx.settings, Days(yesterday, yesterday))
    ctx.conclude("agrees")
    if not result.agrees:
        counts = ", ".join(f"{count} {kind}" for kind, count in Counter(one.kind for one in result.breaks).items())
        command = f"hub reconcile paypay --since {yesterday} --until {yesterday}"
        ctx.review("day_disagrees", f"{yesterday}: {counts}; see {command}")
